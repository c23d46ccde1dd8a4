package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

func handleSetProfile(e *env) command.Verb {
	return command.Verb{
		Name:  "set-profile",
		Short: "say how you want to be shown",
		Long: `Makes a profile document and puts its id into your entry, so that nobody
can show another one as yours. Your agent leaves the document at your
concierge, which gives it out to anyone. What is not given stays as it was;
--clear takes all of it back.`,
		Examples: []string{
			`confab handle set-profile --display-name "Alice Example" --about "likes tea"`,
			"confab handle set-profile --avatar me.png",
			"confab handle set-profile --aka https://alice.example",
		},
		Flags: changeFlags(
			&cli.StringFlag{Name: "display-name", Usage: "your `NAME`, in any script"},
			&cli.StringFlag{Name: "about", Usage: "a few `WORDS` about you"},
			&cli.StringFlag{Name: "avatar", Usage: "a picture `FILE`"},
			&cli.StringSliceFlag{Name: "aka", Usage: "another name of yours, a `URI`; repeat for more; replaces those from before"},
			command.Bool("clear", "take profile, avatar and other names back"),
		),
		Run: e.with(setProfile),
	}
}

func setProfile(c *call) error {
	if !c.Bool("clear") && !c.IsSet("display-name") && !c.IsSet("about") && !c.IsSet("avatar") && !c.IsSet("aka") {
		return c.Usagef("what? Give --display-name, --about, --avatar, --aka or --clear")
	}
	a, err := c.act()
	if err != nil {
		return err
	}
	dir, err := c.profiles(a.account.ID)
	if err != nil {
		return err
	}
	err = c.apply(a, namesvc.OpRecords, byDevice, func(_ *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
		r := e.Records
		if c.Bool("clear") {
			r.Profile, r.Avatar, r.AlsoKnownAs = nil, nil, nil
			return r, nil
		}
		if c.IsSet("display-name") || c.IsSet("about") {
			if r.Profile, err = c.newProfile(dir, r.Profile); err != nil {
				return nil, err
			}
		}
		if path := c.String("avatar"); path != "" {
			b, err := readFile(path, agent.MaxAvatar)
			if err != nil {
				return nil, err
			}
			if r.Avatar, err = keep(dir, b); err != nil {
				return nil, err
			}
		}
		if c.IsSet("aka") {
			r.AlsoKnownAs = c.StringSlice("aka")
		}
		return r, nil
	})
	if err != nil {
		return err
	}
	c.wakeAgent(a)
	return c.printOwn(a)
}

// wakeAgent has the account's agent look at what its entry says now, if it runs.
func (c *call) wakeAgent(a *acting) {
	home, err := c.agentHome(a.account, a.network)
	if err != nil {
		return
	}
	agent := localapi.NewClient(home)
	defer agent.Close()
	if agent.Wake(c.Ctx()) != nil {
		c.Say("it is given out once your agent runs: confab agent run")
	}
}

// profiles returns the folder of an account's documents, each under its id, so
// that what an entry names is there whether or not a later change succeeded.
func (c *call) profiles(id namesvc.AccountID) (string, error) {
	home, err := c.home()
	return filepath.Join(home, "profiles", id.String()), err
}

// document returns the document of an id, nil if it is not kept here.
func document(dir string, id []byte) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, hex.EncodeToString(id)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// keep writes a document and returns its id.
func keep(dir string, b []byte) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, wire.Errorf(wire.Invalid, "the picture is empty")
	}
	id, err := agent.DocumentID(b)
	if err != nil {
		return nil, err
	}
	return id[:], lightclient.WriteFile(filepath.Join(dir, id.String()), b)
}

// knownProfile returns the profile that an entry names, and false if it is not
// kept here.
func knownProfile(dir string, id []byte) (agent.Profile, bool, error) {
	if len(id) != len(chunk.ID{}) {
		return agent.Profile{}, false, nil
	}
	b, err := document(dir, id)
	if b == nil || err != nil {
		return agent.Profile{}, false, err
	}
	p, err := agent.DecodeProfile(b, chunk.ID(id))
	if err != nil {
		return p, false, fmt.Errorf("%s: %w", filepath.Join(dir, hex.EncodeToString(id)), err)
	}
	return p, true, nil
}

// newProfile makes the new profile document from the old one and the flags,
// keeps it, and returns its id.
func (c *call) newProfile(dir string, old []byte) ([]byte, error) {
	p, known, err := knownProfile(dir, old)
	switch {
	case err != nil:
		return nil, err
	case !known && len(old) > 0 && (!c.IsSet("display-name") || !c.IsSet("about")):
		return nil, wire.Errorf(wire.NotFound, "your profile was made on another machine and is not here to be changed: give both --display-name and --about")
	}
	p.Version = 1
	if c.IsSet("display-name") {
		p.Name = c.String("display-name")
	}
	if c.IsSet("about") {
		p.About = c.String("about")
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return keep(dir, p.Encode())
}

// addProfile adds what one's own profile says, if it is kept here.
func (c *call) addProfile(v *handleView, e namesvc.Entry) error {
	dir, err := c.profiles(e.Account)
	if err != nil {
		return err
	}
	p, _, err := knownProfile(dir, e.Records.Profile)
	v.Name, v.About = p.Name, p.About
	return err
}
