"""What makes a definition unacceptable, in the words clients of the wire know, and what is merely doubtful.

All problems are found at once. A problem's path is the given prefix and a bean path, such as
`registerWorkflowDef.arg0.tasks[0].decisionCases[x].<map value>[0].name`.
"""


