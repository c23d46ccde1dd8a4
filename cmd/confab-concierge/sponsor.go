package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

func sponsorNoun() command.Noun {
	return command.Noun{Name: "sponsor", Short: "pay for people's registrations with tickets", Verbs: []command.Verb{
		sponsorDeclare(), sponsorInvite(), sponsorStatus(),
	}}
}

func sponsorDeclare() command.Verb {
	return command.Verb{
		Name:  "declare",
		Short: "put the key of your tickets on the chain",
		Long: `Makes a key for tickets in the folder, if there is none, and declares it for
the service's account. With a ticket a person registers a handle without
work, also a shorter one. How many a day the chain takes from you is voted by
the validators' operators (confab-validator vote sponsor); how many you give,
and to whom, concierge.toml says under [sponsor].

It is safe to repeat. --withdraw ends it on the chain: no ticket is taken any
more, also of those that are given away already.`,
		Examples: []string{
			"confab-concierge sponsor declare",
			"confab-concierge sponsor declare --passphrase-file pass.txt --json",
			"confab-concierge sponsor declare --withdraw",
		},
		Flags: []cli.Flag{
			command.Bool("withdraw", "sponsor nobody any more"),
			&cli.StringFlag{Name: "account", Usage: "use the account `NAME` in confab's folder; the handle's name otherwise"},
			confabFlag(),
			command.Bool("phrase-stdin", "read the recovery phrase from stdin, if this machine keeps no root key"),
			&cli.StringFlag{Name: "passphrase-file", Usage: "read the account's passphrase from `FILE`, one line (CONFAB_PASSPHRASE_FILE)"},
		},
		Run: declare,
	}
}

// declared is how a sponsor stands on the chain, and here.
type declared struct {
	Handle  string                   `json:"handle"`
	Account string                   `json:"account"`
	Key     string                   `json:"key,omitempty"` // SHA-256 of the declared modulus, the first 16 bytes
	Ours    bool                     `json:"ours"`          // it is this folder's
	Quota   uint32                   `json:"quota"`         // registrations a day that the chain takes
	Left    uint32                   `json:"left"`          // of them today
	Height  uint64                   `json:"height"`        // at which it is proven
	Running *concierge.SponsorStatus `json:"running,omitempty"`
}

func (d declared) write(w io.Writer) {
	command.Row(w, "handle", d.Handle)
	command.Row(w, "account", d.Account)
	switch {
	case d.Key == "":
		command.Row(w, "key", "none is declared")
	case d.Ours:
		command.Row(w, "key", d.Key)
	default:
		command.Row(w, "key", d.Key+", which is not this folder's")
	}
	command.Row(w, "quota", strconv.FormatUint(uint64(d.Quota), 10)+" a day, "+strconv.FormatUint(uint64(d.Left), 10)+" left today")
	command.Row(w, "proven", "at height "+strconv.FormatUint(d.Height, 10))
	if r := d.Running; r != nil {
		to := "who has an invitation"
		if r.Open {
			to = "anybody"
		}
		command.Row(w, "tickets", strconv.FormatUint(r.Issued, 10)+" of "+strconv.FormatUint(r.Daily, 10)+" given away today, to "+to)
		command.Row(w, "waiting", strconv.Itoa(r.Waiting)+" invitations")
	}
}

func declare(c *command.Call) error {
	d, err := openDesk(c)
	if err != nil {
		return err
	}
	me, err := d.self()
	if err != nil {
		return err
	}
	var modulus []byte
	if !c.Bool("withdraw") {
		k, err := host.MakeSponsorKey(d.home)
		if err != nil {
			return err
		}
		modulus = concierge.SponsorModulus(k)
	}
	out, leaf, err := d.sponsorship(me, modulus)
	if err != nil {
		return err
	}
	if bytes.Equal(leaf.Key, modulus) {
		c.Say("the chain says so already")
		return c.Print(out, out.write)
	}
	o, root, err := d.rootOf(me)
	if err != nil {
		return err
	}
	defer o.ring.Close()
	report, done := d.progress()
	_, err = d.names.Change(c.Ctx(), me, root, namesvc.OpSponsor, func(namesvc.Entry, namesvc.Devices, string) (any, error) {
		return namesvc.Sponsorship{Key: modulus}, nil
	}, report)
	done()
	if err != nil {
		return err
	}
	if out, _, err = d.sponsorship(me, modulus); err != nil {
		return err
	}
	switch {
	case modulus == nil:
		c.Say("tickets that are given away already are worth nothing now; set sponsor.on = false in %s", filepath.Join(d.home, host.ConfigFile))
	case out.Quota == 0:
		c.Say("the chain takes none yet: have the validators' operators vote: confab-validator vote sponsor --daily N @%s", d.handle)
	case !d.config.Sponsor.On:
		c.Say("next: set sponsor.on = true in %s, and start the concierge again", filepath.Join(d.home, host.ConfigFile))
	}
	return c.Print(out, out.write)
}

// self returns the account of the folder's handle.
func (d *desk) self() (namesvc.AccountID, error) {
	r, err := d.client.Resolve(d.c.Ctx(), d.handle, 0)
	if wire.CodeOf(err) == wire.NotFound {
		return namesvc.AccountID{}, wire.Errorf(wire.NotFound, "%w: put this concierge on the chain first: %s", err, typed(d.c, "register"))
	}
	if err != nil {
		return namesvc.AccountID{}, err
	}
	return r.Entry.Account, nil
}

// sponsorship tells what the chain says of the account as a sponsor.
func (d *desk) sponsorship(me namesvc.AccountID, ours []byte) (declared, namesvc.Sponsor, error) {
	e, leaf, proof, err := d.client.Sponsor(d.c.Ctx(), me, 0)
	if err != nil && wire.CodeOf(err) != wire.NotFound || e.Account != me {
		return declared{}, leaf, err
	}
	out := declared{
		Handle: d.handle.String(), Account: me.String(), Quota: leaf.Quota, Left: leaf.Left(uint64(proof.Time.Unix())), Height: proof.Height,
		Ours: len(leaf.Key) > 0 && bytes.Equal(leaf.Key, ours),
	}
	if len(leaf.Key) > 0 {
		sum := sha256.Sum256(leaf.Key)
		out.Key = hex.EncodeToString(sum[:16])
	}
	return out, leaf, nil
}

// rootOf opens the service's account, which must be on this machine, and returns
// what speaks for it.
func (d *desk) rootOf(me namesvc.AccountID) (*owner, namesvc.Signer, error) {
	c := d.c
	home, err := confabHome(c)
	if err != nil {
		return nil, nil, err
	}
	name := c.String("account")
	if name == "" {
		name = string(d.handle)
	}
	// openOwner makes an account that is not there, which would be another one.
	ring, err := keyring.Open(filepath.Join(home, "accounts"))
	if err != nil {
		return nil, nil, err
	}
	_, err = ring.Load(name)
	if err = errors.Join(err, ring.Close()); err != nil {
		return nil, nil, err
	}
	o, err := openOwner(c, d.handle)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case o.account.ID != me:
		err = wire.Errorf(wire.Conflict, "%v is not the handle of account %q; name the account with --account", d.handle, o.account.Name)
	case c.Bool("phrase-stdin"):
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(c.Stdin, 1025)); err == nil {
			var phrase key.Phrase
			if phrase, err = key.ParsePhrase(string(b)); err == nil {
				return o, phrase.Root(0), nil
			}
		}
		clear(b)
		err = wire.Errorf(wire.Invalid, "read the phrase from stdin: %w", err)
	case o.keys.Root == nil:
		err = wire.Errorf(wire.Unauthorized, "account %q keeps no root key on this machine, and only a root key speaks for a sponsor: give the recovery phrase with --phrase-stdin", o.account.Name)
	default:
		return o, *o.keys.Root, nil
	}
	o.ring.Close()
	return nil, nil, err
}

func sponsorInvite() command.Verb {
	return command.Verb{
		Name:  "invite",
		Short: "make invitation codes",
		Long: `Makes codes, each good for one ticket, and prints them. Give them away over a
channel that you trust: whoever has one first can use it. The concierge must
run; it keeps only what it recognises them by, so they are shown this once.

After a restore from a backup, codes made before it are void.`,
		Examples: []string{"confab-concierge sponsor invite", "confab-concierge sponsor invite --count 10 --for 168h --json"},
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "count", Value: 1, Usage: "make `N` codes"},
			&cli.DurationFlag{Name: "for", Value: 30 * 24 * time.Hour, DefaultText: "720h", Usage: "they are good for this `TIME`, at most 8760h"},
		},
		Run: func(c *command.Call) error {
			codes, err := host.Invite(c.Ctx(), c.Setting("home"), c.Int("count"), c.Duration("for"))
			if err != nil {
				return err
			}
			out := struct {
				Codes []string `json:"codes"`
			}{codes}
			return c.Print(out, func(w io.Writer) {
				for _, code := range codes {
					command.Row(w, "code", code)
				}
			})
		},
	}
}

func sponsorStatus() command.Verb {
	return command.Verb{
		Name:  "status",
		Short: "say what is sponsored",
		Long: `Prints, with proof, whether the chain knows your key and how many
registrations it takes from you today, and, if the concierge runs, how many
tickets were given away and how many invitations wait.`,
		Examples: []string{"confab-concierge sponsor status", "confab-concierge sponsor status --json"},
		Run: func(c *command.Call) error {
			d, err := openDesk(c)
			if err != nil {
				return err
			}
			me, err := d.self()
			if err != nil {
				return err
			}
			var ours []byte
			if k, err := host.SponsorKey(d.home); err == nil {
				ours = concierge.SponsorModulus(k)
			} else if wire.CodeOf(err) != wire.NotFound {
				return err
			}
			out, _, err := d.sponsorship(me, ours)
			if err != nil {
				return err
			}
			s, err := host.AskSponsor(c.Ctx(), d.home)
			switch wire.CodeOf(err) {
			case wire.Unavailable, wire.NotFound: // it does not run, or does not sponsor
				c.Say("%v", err)
			default:
				if err != nil {
					return err
				}
				out.Running = &s
			}
			return c.Print(out, out.write)
		},
	}
}
