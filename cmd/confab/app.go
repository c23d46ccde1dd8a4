package main

import (
	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/internal/command"
)

// newProgram returns the whole program. A new noun is a file with a function
// like accountNoun, and a line here.
func newProgram(e *env) *command.Program {
	return &command.Program{
		World: e.world,
		Name:  "confab",
		Short: "a name you own, and private conversation that no server owns",
		Long: `Commands are a noun and then a verb. Flags come before the arguments.

A first time: confab net add makes a network known here, confab account new
makes keys, confab handle register gets them a name. To try it all on one
machine, run confab-dev: it starts a network and prints what to type.`,
		Examples: []string{
			"confab account new",
			"confab handle register alice",
			"confab handle show --json @alice",
		},
		Common: func() []cli.Flag {
			return []cli.Flag{&cli.StringFlag{
				Name: "home", Usage: "keep everything in `FOLDER` (CONFAB_HOME; confab in your settings' folder otherwise)",
			}}
		},
		Advise: e.advise,
		Nouns:  []command.Noun{handleNoun(e), contactNoun(e), chatNoun(e), conciergeNoun(e), deviceNoun(e), agentNoun(e), accountNoun(e), proofNoun(e), netNoun(e)},
	}
}
