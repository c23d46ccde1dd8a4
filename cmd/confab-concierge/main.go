// Command confab-concierge runs a concierge: init makes its folder, register puts
// it on the chain, run runs it, status says how it does, sponsor has it pay for
// registrations, backup and restore copy what it keeps.
//
// What it guarantees: keys are made once and never overwritten; a second process
// on one folder is refused; an interrupt stops it with everything durable.
//
// What it must not know: how a concierge works, which is concierge/host's.
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
		Name:  "confab-concierge",
		Short: "run a concierge, which keeps mail until it is fetched",
		Long: `A concierge buffers the messages of the accounts that name it. It is a
service with a handle of its own, and proves itself with the key in that
handle's entry.`,
		Examples: []string{
			"confab-concierge init --handle @harbor --network main",
			"confab-concierge register",
			"confab-concierge run",
		},
		Common: func() []cli.Flag {
			return []cli.Flag{&cli.StringFlag{
				Name: "home", Value: "concierge", Usage: "the concierge's `FOLDER` (CONFAB_CONCIERGE_HOME)",
			}}
		},
		Nouns: []command.Noun{sponsorNoun()},
		Verbs: []command.Verb{initVerb(), registerVerb(), runVerb(), statusVerb(), backupVerb(), restoreVerb()},
	}
}

// typed is how a verb on this folder is written on a command line.
func typed(c *command.Call, verb string) string {
	home := c.Setting("home")
	if filepath.Clean(home) == "concierge" {
		return "confab-concierge " + verb
	}
	if strings.ContainsAny(home, " \t\"'$\\") {
		home = "'" + strings.ReplaceAll(home, "'", `'\''`) + "'"
	}
	return "confab-concierge " + verb + " --home " + home
}
