# Completion of avs for bash. Written by `make docs` from the commands; it starts no process.
_avs() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local words='' word cut='' place=$COMP_CWORD
    COMPREPLY=()
    # readline cuts P@10 and --option=value into three words each; of P@10 it replaces @10
    if [[ $current == @ ]]; then
        cut=$before place=$((COMP_CWORD - 1))
    elif [[ $before == @ ]]; then
        cut=${COMP_WORDS[COMP_CWORD - 2]} current=@$current place=$((COMP_CWORD - 2))
    fi
    before=${COMP_WORDS[place - 1]}
    if [[ $current == = ]]; then
        current=''
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[place - 2]}
    fi
    if ((COMP_CWORD == 1)); then
        words='index shots extract train distill expand search rerank fuse eval submit view serve clip info convert --version --help'
    else
        case $command:$before in
            index:--output | index:-o) ;;
            index:--model) words='asr beit blip blip2 clip conse dfn dinov3 embeddinggemma2 ircsn lite metaclip2 microsoft-xclip minilm mobileclip2 ocr open-clip pe-av pe-core qwen3-vl-embedding siglip2 subtitles teachclip timm tipsv2 video-llama videoprism vjepa2 wsl' ;;
            index:--shots) words='content fixed transnetv2' ;;
            index:--weights) ;;
            index:--device) ;;
            index:--batch-size) compopt +o default 2>/dev/null ;;
            index:--workers) compopt +o default 2>/dev/null ;;
            index:--threads) compopt +o default 2>/dev/null ;;
            index:--timeout) compopt +o default 2>/dev/null ;;
            index:--engine) words='local dask' ;;
            index:--scheduler) ;;
            shots:--detector) words='content fixed transnetv2' ;;
            shots:--msb) ;;
            shots:--workers) compopt +o default 2>/dev/null ;;
            shots:--timeout) compopt +o default 2>/dev/null ;;
            shots:--output | shots:-o) ;;
            extract:--model) words='asr beit blip blip2 clip conse dfn dinov3 embeddinggemma2 ircsn lite metaclip2 microsoft-xclip minilm mobileclip2 ocr open-clip pe-av pe-core qwen3-vl-embedding siglip2 subtitles teachclip timm tipsv2 video-llama videoprism vjepa2 wsl' ;;
            extract:--output | extract:-o) ;;
            extract:--head) ;;
            extract:--missing) words='error skip zero' ;;
            extract:--shots) ;;
            extract:--text) ;;
            extract:--field) words='query narrative both' ;;
            extract:--fps) compopt +o default 2>/dev/null ;;
            extract:--frames) words='name folder' ;;
            extract:--max-frames) compopt +o default 2>/dev/null ;;
            extract:--pool) words='mean max none' ;;
            extract:--frame-norm) words='none l2' ;;
            extract:--dtype) words='float16 float32' ;;
            extract:--weights) ;;
            extract:--device) ;;
            extract:--precision) words='auto fp32 bf16 fp16' ;;
            extract:--batch-size) compopt +o default 2>/dev/null ;;
            extract:--workers) compopt +o default 2>/dev/null ;;
            extract:--threads) compopt +o default 2>/dev/null ;;
            extract:--timeout) compopt +o default 2>/dev/null ;;
            extract:--shard) ;;
            extract:--thumbnails) ;;
            extract:--hwaccel) ;;
            extract:--engine) words='local dask' ;;
            extract:--scheduler) ;;
            train:--output | train:-o) ;;
            train:--video) ;;
            train:--text) ;;
            train:--head) words='afa laff lpd sea w2vvpp xclip xpool' ;;
            train:--objective) words='contrastive decorrelated negation triplet' ;;
            train:--validate) ;;
            train:--qrels) ;;
            train:--metric) ;;
            train:--init) ;;
            train:--negated) ;;
            train:--word-vectors) ;;
            train:--optimizer) words='rmsprop adamw' ;;
            train:--learning-rate) compopt +o default 2>/dev/null ;;
            train:--weight-decay) compopt +o default 2>/dev/null ;;
            train:--schedule) words='plateau cosine' ;;
            train:--epochs) compopt +o default 2>/dev/null ;;
            train:--patience) compopt +o default 2>/dev/null ;;
            train:--batch-size) compopt +o default 2>/dev/null ;;
            train:--precision) words='fp32 bf16 fp16' ;;
            train:--seed) compopt +o default 2>/dev/null ;;
            train:--time-limit) ;;
            train:--tensorboard) ;;
            train:--device) ;;
            train:--threads) compopt +o default 2>/dev/null ;;
            distill:--captions) ;;
            distill:--output | distill:-o) ;;
            distill:--teacher) ;;
            distill:--student) ;;
            distill:--video) ;;
            distill:--text) ;;
            distill:--teacher-video) ;;
            distill:--teacher-text) ;;
            distill:--word-vectors) ;;
            distill:--weights) ;;
            distill:--frames) compopt +o default 2>/dev/null ;;
            distill:--words) compopt +o default 2>/dev/null ;;
            distill:--aggregate) words='attention seqtransf mean' ;;
            distill:--pool-temperature) compopt +o default 2>/dev/null ;;
            distill:--tower-rate) compopt +o default 2>/dev/null ;;
            distill:--chunk) compopt +o default 2>/dev/null ;;
            distill:--validate) ;;
            distill:--metric) words='R@1 R@5 R@10 SumR' ;;
            distill:--coarse) words='pear ce l1' ;;
            distill:--fine) words='pear ce l1' ;;
            distill:--loss-weights) ;;
            distill:--temperature) compopt +o default 2>/dev/null ;;
            distill:--cache) ;;
            distill:--cache-frames) words='raw jpeg' ;;
            distill:--cache-limit) ;;
            distill:--optimizer) words='adamw bertadam' ;;
            distill:--learning-rate) compopt +o default 2>/dev/null ;;
            distill:--weight-decay) compopt +o default 2>/dev/null ;;
            distill:--epochs) compopt +o default 2>/dev/null ;;
            distill:--batch-size) compopt +o default 2>/dev/null ;;
            distill:--precision) words='fp32 bf16 fp16' ;;
            distill:--seed) compopt +o default 2>/dev/null ;;
            distill:--time-limit) ;;
            distill:--tensorboard) ;;
            distill:--device) ;;
            distill:--threads) compopt +o default 2>/dev/null ;;
            distill:--workers) compopt +o default 2>/dev/null ;;
            distill:--engine) words='local dask' ;;
            distill:--scheduler) ;;
            expand:--model) ;;
            expand:--count | expand:-n) compopt +o default 2>/dev/null ;;
            expand:--prompt) ;;
            expand:--weight) compopt +o default 2>/dev/null ;;
            expand:--temperature) compopt +o default 2>/dev/null ;;
            expand:--seed) compopt +o default 2>/dev/null ;;
            expand:--batch-size) compopt +o default 2>/dev/null ;;
            expand:--output | expand:-o) ;;
            expand:--device) ;;
            expand:--threads) compopt +o default 2>/dev/null ;;
            search:--query | search:-q) ;;
            search:--then) ;;
            search:--within) ;;
            search:--like) ;;
            search:--topics) ;;
            search:--vectors) ;;
            search:--head) ;;
            search:--explain) ;;
            search:--times) ;;
            search:--field) words='query narrative both' ;;
            search:--negation) words='subtract deo sentence' ;;
            search:--missing) words='error skip zero' ;;
            search:--depth) compopt +o default 2>/dev/null ;;
            search:--at-least) ;;
            search:--ngrams) ;;
            search:--confidence) ;;
            search:--tag) ;;
            search:--output | search:-o) ;;
            search:--weights) ;;
            search:--device) ;;
            search:--threads) compopt +o default 2>/dev/null ;;
            search:--engine) words='local dask' ;;
            search:--scheduler) ;;
            rerank:--method) words='diverse feedback framemax hubness judge neighbours scores' ;;
            rerank:--gallery | rerank:-g) ;;
            rerank:--topics) ;;
            rerank:--vectors) ;;
            rerank:--bank) ;;
            rerank:--gallery-bank) ;;
            rerank:--scores) ;;
            rerank:--qrels) ;;
            rerank:--verdicts) ;;
            rerank:--budget) ;;
            rerank:--videos) ;;
            rerank:--batch-size) compopt +o default 2>/dev/null ;;
            rerank:--depth) compopt +o default 2>/dev/null ;;
            rerank:--weight) compopt +o default 2>/dev/null ;;
            rerank:--tag) ;;
            rerank:--output | rerank:-o) ;;
            rerank:--weights) ;;
            rerank:--device) ;;
            rerank:--threads) compopt +o default 2>/dev/null ;;
            rerank:--engine) words='local dask' ;;
            rerank:--scheduler) ;;
            fuse:--method) words='average bayesfuse borda combanz combgmnz combmax combmed combmin combmnz combsum condorcet isr log-isr logn-isr mapfuse merge mixed posfuse probfuse rbc rrf segfuse slidefuse weighted wmnz' ;;
            fuse:--steps) words='auto 1 2' ;;
            fuse:--step-2) words='logistic lambdamart' ;;
            fuse:--qrels) ;;
            fuse:--measure) words='xinfAP AP nDCG nDCG@10 nDCG@20 P@5 P@10 P@20' ;;
            fuse:--folds) ;;
            fuse:--seed) compopt +o default 2>/dev/null ;;
            fuse:--threads) compopt +o default 2>/dev/null ;;
            fuse:--save) ;;
            fuse:--load) ;;
            fuse:--report) ;;
            fuse:--topics) ;;
            fuse:--depth) compopt +o default 2>/dev/null ;;
            fuse:--tag) ;;
            fuse:--output | fuse:-o) ;;
            eval:--qrels) ;;
            eval:--measure | eval:-m) words='AP Bpref ERR@20 hit@1 infAP infNDCG inum_rel inum_rel_ret iP@10 iP@100 iP@1000 iprec@rec0.50 Judged@10 Judged@100 MeanR MedR mir nDCG nDCG@10 nDCG@20 num_ret P@10 P@100 R@100 R@1000 RBP Rprec RR Success@10 SumR xinfAP' ;;
            eval:--topics) ;;
            eval:--baseline) ;;
            eval:--test) words='randomization t tukey' ;;
            eval:--seed) compopt +o default 2>/dev/null ;;
            eval:--missing) words='skip zero' ;;
            eval:--format) words='table nist' ;;
            eval:--plot) ;;
            eval:--agreement) ;;
            submit:--topics) ;;
            submit:--shots) ;;
            submit:--exclude) ;;
            submit:--dropped) ;;
            submit:--format) words='xml trec' ;;
            submit:--dtd) ;;
            submit:--year) compopt +o default 2>/dev/null ;;
            submit:--pid) ;;
            submit:--training) words='A D E F' ;;
            submit:--class) words='F M R' ;;
            submit:--task) words='M P' ;;
            submit:--novelty) words='C N' ;;
            submit:--priority) compopt +o default 2>/dev/null ;;
            submit:--desc) ;;
            submit:--algo) words='C V' ;;
            submit:--elapsed) ;;
            submit:--tag) ;;
            submit:--output | submit:-o) ;;
            view:--gallery | view:-g) ;;
            view:--topics) ;;
            view:--qrels) ;;
            view:--confidence) ;;
            view:--shown) compopt +o default 2>/dev/null ;;
            view:--videos) ;;
            view:--output | view:-o) ;;
            serve:--qrels) ;;
            serve:--videos) ;;
            serve:--host) ;;
            serve:--port) compopt +o default 2>/dev/null ;;
            serve:--dres) ;;
            serve:--dres-user) ;;
            serve:--dres-evaluation) ;;
            serve:--weights) ;;
            serve:--device) ;;
            serve:--threads) compopt +o default 2>/dev/null ;;
            clip:--gallery | clip:-g) ;;
            clip:--topics) ;;
            clip:--depth) compopt +o default 2>/dev/null ;;
            clip:--pad) ;;
            clip:--list) words='edl fcpxml m3u csv' ;;
            clip:--videos) ;;
            clip:--workers) compopt +o default 2>/dev/null ;;
            clip:--timeout) compopt +o default 2>/dev/null ;;
            clip:--output | clip:-o) ;;
            convert:--tag) ;;
            convert:--topics) ;;
            convert:--depth) compopt +o default 2>/dev/null ;;
            convert:--head) ;;
            convert:--feature) ;;
            convert:--vocabulary) ;;
            convert:--layout) words='bigfile clip-retrieval srt vtt' ;;
            convert:--shots) ;;
            convert:--word-vectors) ;;
            *)
                [[ $current == -* ]] && case $command in
                    index) words='--output -o --model --shots --keep-missing --retry-failed --weights --device --batch-size --workers --threads --timeout --engine --scheduler --help' ;;
                    shots) words='--detector --msb --workers --timeout --output -o --help' ;;
                    extract) words='--model --output -o --head --missing --allow-mismatch --shots --text --field --fps --frames --max-frames --pool --frame-norm --dtype --weights --device --precision --batch-size --workers --threads --timeout --shard --thumbnails --retry-failed --hwaccel --engine --scheduler --list-models --json --help' ;;
                    train) words='--output -o --video --text --head --objective --validate --qrels --metric --init --negated --word-vectors --optimizer --learning-rate --weight-decay --schedule --epochs --patience --batch-size --precision --seed --time-limit --skip-missing --allow-mismatch --tensorboard --device --threads --help' ;;
                    distill) words='--captions --output -o --teacher --student --video --text --teacher-video --teacher-text --word-vectors --weights --frames --words --aggregate --pool-temperature --masked --tower-rate --chunk --validate --metric --coarse --fine --loss-weights --temperature --cache --cache-frames --cache-limit --optimizer --learning-rate --weight-decay --epochs --batch-size --precision --seed --time-limit --skip-missing --allow-mismatch --tensorboard --device --threads --workers --engine --scheduler --help' ;;
                    expand) words='--model --count -n --prompt --weight --temperature --seed --batch-size --overwrite --output -o --device --threads --help' ;;
                    search) words='--query -q --then --within --like --topics --vectors --head --explain --times --field --negation --missing --depth --at-least --ngrams --confidence --tag --output -o --weights --allow-mismatch --device --threads --engine --scheduler --help' ;;
                    rerank) words='--method --gallery -g --topics --vectors --bank --gallery-bank --scores --qrels --verdicts --budget --videos --batch-size --depth --weight --tag --output -o --weights --allow-mismatch --device --threads --engine --scheduler --help' ;;
                    fuse) words='--method --ltr --steps --step-2 --compare --qrels --measure --folds --seed --threads --save --load --report --json --topics --depth --tag --output -o --help' ;;
                    eval) words='--qrels --measure -m --topics --by-topic -q --baseline --test --seed --missing --format --json --csv --latex --plot --agreement --help' ;;
                    submit) words='--topics --shots --exclude --dropped --format --check --dtd --year --pid --training --class --task --novelty --priority --desc --algo --elapsed --tag --output -o --help' ;;
                    view) words='--gallery -g --topics --qrels --confidence --shown --thumbnails-beside --videos --output -o --help' ;;
                    serve) words='--qrels --videos --host --port --open --dres --dres-user --dres-evaluation --weights --allow-mismatch --device --threads --help' ;;
                    clip) words='--gallery -g --topics --depth --pad --exact --list --videos --workers --timeout --output -o --help' ;;
                    info) words='--json --help' ;;
                    convert) words='--tag --topics --depth --negate --trust-pickle --head --feature --vocabulary --frames --layout --shots --word-vectors --help' ;;
                esac
                ;;
        esac
    fi
    for word in $words; do
        [[ $word == "$cut$current"* ]] && COMPREPLY+=("${word#"$cut"}")
    done
}
complete -o default -F _avs avs
