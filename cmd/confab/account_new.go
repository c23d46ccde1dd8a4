package main

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
)

func accountNew(e *env) command.Verb {
	return command.Verb{
		Name:  "new",
		Short: "make an account",
		Long: `Makes an account. Nobody is asked and nothing is sent.

The account is controlled by a recovery phrase of 12 words. It is shown once,
on the terminal alone, and two of its words are asked for; it is stored
nowhere. This machine keeps a device key and a lower root key, encrypted
under a passphrase. With --no-root it keeps the device key alone: a thief of
this machine can then do less, and each change of keys needs the phrase.

Without a terminal there are two honest ways, and both need
--passphrase-file: --unattended prints the phrase as part of the result,
once, for the script to keep safe; --phrase-stdin reads a phrase that was
made elsewhere.`,
		Examples: []string{
			"confab account new",
			"confab account new --name work --kind organisation",
			"confab account new --unattended --passphrase-file pass.txt --json",
		},
		Flags: []cli.Flag{
			nameFlag(firstName),
			&cli.StringFlag{Name: "kind", Value: "person", Usage: "the account stands for a `KIND`: person, organisation or service"},
			command.Bool("no-root", "keep no lower root key on this machine"),
			command.Bool("unattended", "ask nothing, and print the phrase with the result"),
			phraseFlag(),
			passphraseFlag(),
		},
		Run: e.with(makeAccount),
	}
}

func makeAccount(c *call) error {
	kind, ok := parseKind(c.String("kind"))
	if !ok {
		return c.Usagef("--kind %q: an account is a person, organisation or service", c.String("kind"))
	}
	unattended := c.Bool("unattended")
	switch {
	case unattended && c.Bool("phrase-stdin"):
		return c.Usagef("--unattended makes a phrase and --phrase-stdin takes one: use one of them")
	case unattended && c.Setting("passphrase-file") == "":
		return c.Usagef("--unattended asks nothing: give the passphrase with --passphrase-file FILE")
	case !unattended && !c.Bool("phrase-stdin") && c.person == nil:
		return c.Usagef("there is no terminal to show the recovery phrase on: use a terminal, or --unattended or --phrase-stdin; see confab account new --help")
	}
	r, err := c.openAccounts()
	if err != nil {
		return err
	}
	defer r.Close()
	name, err := c.freeName(r.Reader, firstName)
	if err != nil {
		return err
	}
	passphrase, err := c.newPassphrase("passphrase-file", "passphrase for the keys on this machine")
	defer clear(passphrase)
	if err != nil {
		return err
	}
	phrase, err := c.agreeOnPhrase(unattended)
	if err != nil {
		return err
	}
	opt := keyring.Options{Name: name, NoRoot: c.Bool("no-root"), Created: c.now()}
	a, err := keyring.New(c.rand, phrase, kind, opt, keyring.Protect(passphrase, c.cost))
	if err != nil {
		return err
	}
	if unattended {
		return c.printAndAdd(r, a, phrase)
	}
	if err := r.Add(a); err != nil {
		return err
	}
	c.Say("account %s is made. to get it a handle: confab handle register HANDLE", a.Name)
	v := view(r.Reader, a)
	return c.Print(v, v.write)
}

// agreeOnPhrase returns the phrase of a new account, once the person has it.
func (c *call) agreeOnPhrase(unattended bool) (key.Phrase, error) {
	if c.Bool("phrase-stdin") {
		return c.phrase()
	}
	p, err := key.NewPhrase(c.rand)
	if err != nil || unattended {
		return p, err
	}
	return p, c.confirmPhrase(p)
}

// printAndAdd prints the phrase with the result and only then keeps the account.
// The other way round, a full disk or a closed pipe would leave an account whose
// phrase nobody ever saw; this way it leaves a phrase without an account, and an
// exit status that says so.
func (c *call) printAndAdd(r *keyring.Ring, a keyring.Account, p key.Phrase) error {
	v := view(r.Reader, a)
	list, err := r.List()
	if err != nil {
		return err
	}
	v.Default = len(list) == 0
	v.Phrase = p.Reveal()
	if err := c.Print(v, func(w io.Writer) { v.write(w) }); err != nil {
		return err
	}
	return r.Add(a)
}

func parseKind(text string) (namesvc.Kind, bool) {
	for k := namesvc.Person; k <= namesvc.Service; k++ {
		if k.String() == text {
			return k, true
		}
	}
	return 0, false
}
