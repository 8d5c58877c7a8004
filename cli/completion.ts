/** Shell completion, made from the command table; machine names come from `vps list -q`. */
import { HyperlaneError } from "#contract/errors.ts";
import { COMMANDS } from "#cli/table.ts";

export function completionScript(shell: string | undefined): string {
  const names = Object.keys(COMMANDS);
  const firsts = [...new Set([...names.map((n) => n.split(" ")[0]!), "completion", "version", "help"])].filter((n) => n !== "ssh-proxy");
  const nested = Object.entries(
    Object.groupBy(
      names.filter((n) => n.includes(" ")),
      (n) => n.split(" ")[0]!,
    ),
  ).map(([first, list]) => [first, list!.map((n) => n.split(" ")[1]!)] as const);
  const seconds = (render: (first: string, words: string) => string): string =>
    nested.map(([first, words]) => render(first, words.join(" "))).join("\n");
  switch (shell) {
    case "bash":
      return `_vps() {
  local cur=\${COMP_WORDS[COMP_CWORD]} words
  if [ "$COMP_CWORD" -eq 1 ]; then words="${firsts.join(" ")}"
  else
    words=$(vps list -q 2>/dev/null)
    [ "$COMP_CWORD" -eq 2 ] && case \${COMP_WORDS[1]} in
${seconds((f, w) => `      ${f}) words="$words ${w}" ;;`)}
      completion) words="bash zsh fish" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _vps vps`;
    case "zsh":
      return `#compdef vps
_vps() {
  if (( CURRENT == 2 )); then compadd ${firsts.join(" ")}; return; fi
  if (( CURRENT == 3 )); then case $words[2] in
${seconds((f, w) => `    ${f}) compadd ${w} ;;`)}
    completion) compadd bash zsh fish; return ;;
  esac; fi
  compadd $(vps list -q 2>/dev/null)
  _files
}
compdef _vps vps`;
    case "fish":
      return `complete -c vps -n __fish_use_subcommand -f -a "${firsts.join(" ")}"
${seconds((f, w) => `complete -c vps -n "__fish_seen_subcommand_from ${f}" -f -a "${w}"`)}
complete -c vps -n "__fish_seen_subcommand_from completion" -f -a "bash zsh fish"
complete -c vps -n "not __fish_use_subcommand" -a "(vps list -q 2>/dev/null)"`;
    default:
      throw new HyperlaneError("USAGE", shell === undefined ? "For which shell?" : `There is no completion for "${shell}".`, {
        hint: "Try: source <(vps completion bash); there is bash, zsh and fish.",
      });
  }
}
