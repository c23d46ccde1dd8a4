package main

import (
	"bytes"
	"io"

	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
)

func contactAvatar(e *env) command.Verb {
	return command.Verb{
		Name: "avatar", Args: "WHO FILE", Short: "save the picture that a contact shows",
		Long: `Writes the picture that a contact has published (confab handle set-profile
--avatar) to a file. It is the one that their entry names; that it shows them,
nobody vouches for.`,
		Examples: []string{"confab contact avatar @bob bob.png"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			file := c.Args().Get(1)
			if err := free(file); err != nil {
				return err
			}
			var b bytes.Buffer
			if err := agent.Avatar(c.Ctx(), c.Args().First(), &b); err != nil {
				return err
			}
			if err := writeNew(file, b.Bytes()); err != nil {
				return err
			}
			return c.Print(struct {
				File  string `json:"file"`
				Bytes int    `json:"bytes"`
			}{file, b.Len()}, func(w io.Writer) { command.Row(w, "file", file) })
		}),
	}
}
