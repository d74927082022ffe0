"""What the records of stored runs say.

stored        runs found in the index, their records read from the topics
chain         the records of one run in their order
telling       a chain as steps that two runs can be compared by
alignment     two chains side by side; ``differences`` says where two values differ
comparison    two runs with their forks' origins and their sub-agents; ``facts`` has it as JSON
"""
