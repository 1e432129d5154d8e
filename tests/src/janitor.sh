# Removes what a laboratory made, as soon as its process is gone in whatever way: standard input is a pipe from it,
# and the kernel closes that pipe for a panic, a signal and SIGKILL alike.
# Arguments: the name that its namespaces begin with, its directory, its pins (those of further filters begin so too).
trap '' HUP INT TERM
cat >/dev/null
for path in /run/netns/"$1"-*; do
    [ -e "$path" ] || continue
    namespace=${path##*/}
    # Only the laboratory starts processes in there. Three rounds, because a process that forks can slip through one.
    for round in 1 2 3; do
        for process in $(ip netns pids "$namespace" 2>/dev/null); do
            # The shell's own kill: a minimal system has no other.
            kill -KILL "$process" 2>/dev/null
        done
    done
    ip netns delete "$namespace" 2>/dev/null
done
rm -rf -- "$2" "$3" "$3"-*
