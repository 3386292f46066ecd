// Plays a published video from its HLS playlists through Media Source Extensions: CMAF segments, one init a track.
"use strict";

const AHEAD_S = 30;        // buffered before the next segment is fetched
const BEHIND_S = 60;       // kept for seeking back; older data is dropped
const SAFETY = 0.7;        // share of the measured throughput that a rendition may need

const element = (id) => document.getElementById(id);
const say = (text) => { element("message").textContent = text; };

async function get(url, kind) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return kind === "text" ? answer.text() : answer.arrayBuffer();
}

function attributes(text) {
  const found = {};
  for (const [, name, quoted, plain] of text.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^,]*))/g)) {
    found[name] = quoted ?? plain;
  }
  return found;
}

function parseMaster(text, base) {
  const variants = [], audio = [];
  let next = null;
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#EXT-X-STREAM-INF:")) next = attributes(line.slice(18));
    else if (line.startsWith("#EXT-X-MEDIA:")) {
      const media = attributes(line.slice(13));
      if (media.TYPE === "AUDIO" && media.URI) audio.push({ ...media, url: new URL(media.URI, base).href });
    } else if (line && !line.startsWith("#") && next) {
      variants.push({ ...next, bandwidth: Number(next.BANDWIDTH), url: new URL(line, base).href });
      next = null;
    }
  }
  variants.sort((a, b) => a.bandwidth - b.bandwidth);
  return { variants, audio };
}

async function loadPlaylist(url) {
  const list = { init: null, segments: [] };
  let start = 0, duration = 0;
  for (const line of (await get(url, "text")).split(/\r?\n/)) {
    if (line.startsWith("#EXT-X-MAP:")) list.init = new URL(attributes(line.slice(11)).URI, url).href;
    else if (line.startsWith("#EXTINF:")) duration = parseFloat(line.slice(8));
    else if (line && !line.startsWith("#")) {
      list.segments.push({ start, end: start + duration, url: new URL(line, url).href });
      start += duration;
    }
  }
  return list;
}

const codecOf = (codecs, video) =>
  (codecs || "").split(",").filter((each) => /^(avc|hvc|hev|vp0|av0|dv)/.test(each.trim()) === video).join(",");

// One source buffer, fed segment by segment around the playhead.
class Track {
  constructor(player, mime, choose) {
    this.player = player;
    this.choose = choose;
    this.buffer = player.source.addSourceBuffer(mime);
    this.lists = new Map();
    this.current = null;
    this.busy = false;
  }

  async list(url) {
    if (!this.lists.has(url)) this.lists.set(url, await loadPlaylist(url));
    return this.lists.get(url);
  }

  change(action) {
    return new Promise((resolve, reject) => {
      this.buffer.onupdateend = resolve;
      this.buffer.onerror = () => reject(new Error("the browser refused a segment"));
      action(this.buffer);
    });
  }

  bufferedEnd(time) {
    const ranges = this.buffer.buffered;
    for (let i = 0; i < ranges.length; i += 1) {
      if (ranges.start(i) <= time + 0.1 && time < ranges.end(i)) return ranges.end(i);
    }
    return time;
  }

  async step() {
    if (this.busy || this.player.source.readyState === "closed") return false;
    this.busy = true;
    try {
      const time = this.player.video.currentTime;
      const end = this.bufferedEnd(time);
      const chosen = this.choose();
      const list = await this.list(chosen);
      const segment = list.segments.find((each) => each.end > end + 0.05);
      if (!segment || end - time > AHEAD_S) return false;
      if (this.current !== chosen) {
        const init = await get(list.init);
        await this.change((buffer) => buffer.appendBuffer(init));
        this.current = chosen;
      }
      const began = performance.now();
      const data = await get(segment.url);
      this.player.measured(data.byteLength, performance.now() - began);
      if (time > BEHIND_S) await this.change((buffer) => buffer.remove(0, time - BEHIND_S));
      await this.change((buffer) => buffer.appendBuffer(data));
      return true;
    } finally {
      this.busy = false;
    }
  }

  get done() {
    const list = this.current && this.lists.get(this.current);
    return Boolean(list) && this.bufferedEnd(this.player.video.currentTime) >= list.segments.at(-1).end - 0.2;
  }
}

class Player {
  constructor(video) {
    this.video = video;
    this.throughput = 0;
    this.wanted = "auto";
  }

  measured(bytes, ms) {
    const now = (bytes * 8000) / Math.max(ms, 1);
    this.throughput = this.throughput ? 0.7 * this.throughput + 0.3 * now : now;
  }

  variant() {
    const { variants } = this.master;
    if (this.wanted !== "auto") return variants[Number(this.wanted)];
    const fitting = variants.filter((each) => each.bandwidth <= SAFETY * this.throughput);
    return fitting.at(-1) || variants[0];
  }

  async open(url) {
    this.master = parseMaster(await get(url, "text"), new URL(url, location.href).href);
    const { variants, audio } = this.master;
    if (!variants.length) throw new Error("the video has no rendition to play");
    this.source = new MediaSource();
    this.video.src = URL.createObjectURL(this.source);
    await new Promise((resolve) => this.source.addEventListener("sourceopen", resolve, { once: true }));
    const first = await loadPlaylist(variants[0].url);
    this.source.duration = first.segments.at(-1).end;
    const codecs = variants.at(-1).CODECS;
    const picture = codecOf(codecs, true), sound = codecOf(codecs, false);
    this.tracks = [];
    if (picture) this.tracks.push(new Track(this, `video/mp4; codecs="${picture}"`, () => this.variant().url));
    const chosen = audio.find((each) => each.DEFAULT === "YES") || audio[0];
    if (chosen && sound) this.tracks.push(new Track(this, `audio/mp4; codecs="${sound}"`, () => chosen.url));
    else if (!picture) this.tracks.push(new Track(this, `audio/mp4; codecs="${sound}"`, () => variants[0].url));
    for (const event of ["seeking", "timeupdate", "waiting"]) {
      this.video.addEventListener(event, () => this.fill());
    }
    this.fill();
  }

  async fill() {
    try {
      const moved = await Promise.all(this.tracks.map((track) => track.step()));
      element("playing").textContent = this.variant().RESOLUTION || "";
      if (moved.some(Boolean)) this.fill();
      else if (this.source.readyState === "open" && this.tracks.every((track) => track.done && !track.busy)) {
        this.source.endOfStream();
      }
    } catch (error) {
      say(`Playback stopped: ${error.message}`);
    }
  }
}

async function start() {
  const id = decodeURIComponent(location.pathname.split("/").pop());
  const answer = await fetch(`/api/v1/videos/${encodeURIComponent(id)}`);
  const document_ = await answer.json();
  if (!answer.ok) { say(document_.detail || "There is no such video."); return; }
  element("title").textContent = document_.title;
  document.title = document_.title;
  if (document_.status !== "ready") {
    say(document_.error ? document_.error.message : `This video is ${document_.status}: ${document_.progress.message}`);
    if (document_.status === "queued" || document_.status === "processing") setTimeout(start, 2000);
    return;
  }
  say("");
  const video = element("video");
  const local = (url) => new URL(url).pathname;
  if (document_.playback.poster) video.poster = local(document_.playback.poster);
  const hls = local(document_.playback.hls);
  if (!window.MediaSource) { video.src = hls; return; }
  const player = new Player(video);
  await player.open(hls);
  const select = element("rendition");
  player.master.variants.forEach((each, index) => {
    const label = `${each.RESOLUTION || "sound"}, ${Math.round(each.bandwidth / 1000)} kbit/s`;
    select.append(new Option(label, String(index)));
  });
  select.addEventListener("change", () => { player.wanted = select.value; });
  element("controls").hidden = false;
}

start().catch((error) => say(`The video cannot be played: ${error.message}`));
