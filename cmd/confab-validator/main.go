// Command confab-validator runs a validator of a confab chain: init makes its
// folder, run runs it, status says how it does.
//
// What it guarantees: keys are made once and never overwritten; a folder of
// another chain and a second process on one folder are refused; an interrupt
// stops it with everything durable.
//
// What it must not know: how a validator works, which is chain/node's.
//
// Each verb has a file of its name. Start at newProgram.
package main

import (
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/internal/command"
)

func main() { command.Main(newProgram(command.System())) }

func newProgram(w command.World) *command.Program {
	return &command.Program{
		World: w,
		Name:  "confab-validator",
		Short: "run a validator of a confab chain",
		Long: `A validator agrees with others on what handles mean, and serves proofs of it.
To try a whole network on this machine, run confab-dev instead.`,
		Examples: []string{
			"confab-validator init --chain my-chain",
			"confab-validator run",
		},
		Common: func() []cli.Flag {
			return []cli.Flag{&cli.StringFlag{
				Name: "home", Value: "validator", Usage: "the validator's `FOLDER` (CONFAB_VALIDATOR_HOME)",
			}}
		},
		Verbs: []command.Verb{initVerb(), joinVerb(), runVerb(), statusVerb(), possessionVerb(), backupVerb(), restoreVerb(), exportVerb(), auditVerb()},
		Nouns: []command.Noun{voteNoun()},
	}
}

// typed is how the validator's folder is named on a command line that is
// printed for people to type.
func typed(c *command.Call, verb string) string {
	home := c.Setting("home")
	if filepath.Clean(home) == "validator" {
		return "confab-validator " + verb
	}
	if strings.ContainsAny(home, " \t\"'$\\") {
		home = "'" + strings.ReplaceAll(home, "'", `'\''`) + "'"
	}
	return "confab-validator " + verb + " --home " + home
}
