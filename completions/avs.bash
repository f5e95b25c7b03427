# Completion of avs for bash. Written by `make docs` from the commands; it starts no process.
_avs() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local words='' word
    COMPREPLY=()
    # readline cuts --option=value into three words
    if [[ $current == = ]]; then
        current=''
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD == 1)); then
        words='--version --help'
    else
        case $command:$before in

            *)
                [[ $current == -* ]] && case $command in

                esac
                ;;
        esac
    fi
    for word in $words; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
}
complete -o default -F _avs avs
