# Completion of avs for fish. Written by `make docs` from the commands; it starts no process.
complete -c avs -n __fish_use_subcommand -l version -d 'Print the version and exit'
complete -c avs -n __fish_use_subcommand -l help -d 'Show this message and exit'
