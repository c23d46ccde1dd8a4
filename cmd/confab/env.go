package main

import (
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/namesvc/wire"
)

// env is all that the program takes from outside.
type env struct {
	stdin  io.Reader
	stdout io.Writer // results
	stderr io.Writer // words

	person         terminal // who can be asked, nil if nobody
	stdoutTerminal bool     // stdout is shown to a person
	stderrTerminal bool

	getenv    func(string) string
	configDir func() (string, error) // where programs keep their settings
	now       func() time.Time
	rand      io.Reader
	cost      keyring.Cost // of new passphrases
	version   string       // of the program, or empty
}

// terminal is the person at the keyboard.
type terminal interface {
	// ask shows the prompt and returns the line that is typed, without its
	// end. It returns errStopped if the person wants to stop.
	ask(prompt string) (string, error)
	// askHidden is the same and does not show what is typed.
	askHidden(prompt string) (string, error)
}

// call is one run of a command: what its action gets.
type call struct {
	*env
	*cli.Context
}

// given reports whether the flag was set, after the command or before it.
func (c *call) given(flag string) bool {
	for _, x := range c.Lineage() {
		if x.IsSet(flag) {
			return true
		}
	}
	return false
}

// setting returns the value of a flag, wherever on the line it was set, or that
// of its variable: CONFAB_PASSPHRASE_FILE for passphrase-file. cli's own lookup
// sees only the innermost place that could have set a flag.
func (c *call) setting(flag string) string {
	for _, x := range c.Lineage() {
		if x.IsSet(flag) {
			return x.String(flag)
		}
	}
	if v := c.getenv("CONFAB_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))); v != "" {
		return v
	}
	return c.String(flag)
}

// home returns the folder that holds everything of confab's on this machine.
func (c *call) home() (string, error) {
	if dir := c.setting("home"); dir != "" {
		return dir, nil
	}
	dir, err := c.configDir()
	if err != nil {
		return "", wire.Errorf(wire.Invalid, "nowhere to keep accounts: %w; name a folder with --home or CONFAB_HOME", err)
	}
	return filepath.Join(dir, "confab"), nil
}

// accounts returns the folder of the accounts.
func (c *call) accounts() (string, error) {
	home, err := c.home()
	return filepath.Join(home, "accounts"), err
}

// readAccounts opens the accounts for reading.
func (c *call) readAccounts() (keyring.Reader, error) {
	dir, err := c.accounts()
	return keyring.Read(dir), err
}

// openAccounts opens the accounts for writing; the caller closes them.
func (c *call) openAccounts() (*keyring.Ring, error) {
	dir, err := c.accounts()
	if err != nil {
		return nil, err
	}
	return keyring.Open(dir)
}

// account returns the account to use: the one named on the line, else the one of
// --account or CONFAB_ACCOUNT, else the default.
func (c *call) account(r keyring.Reader, named string) (keyring.Account, error) {
	if named == "" {
		named = c.setting("account")
	}
	if named != "" {
		a, err := r.Load(named)
		if wire.CodeOf(err) == wire.NotFound {
			err = wire.Errorf(wire.NotFound, "%w; see confab account list", err)
		}
		return a, err
	}
	a, err := r.Default()
	switch wire.CodeOf(err) {
	case wire.NotFound:
		err = wire.Errorf(wire.NotFound, "%w; make one with confab account new", err)
	case wire.Invalid:
		err = wire.Errorf(wire.Invalid, "%w; choose one with --account NAME, or for good with confab account use NAME", err)
	}
	return a, err
}

// The flags that several commands have. Each call returns new ones, since a flag
// remembers whether it was set.

// commonFlags are those of every command.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		boolFlag("json", "print the result, or the error, as one line of JSON"),
		&cli.StringFlag{Name: "home", Usage: "keep everything in `FOLDER` (CONFAB_HOME; confab in your settings' folder otherwise)"},
	}
}

// boolFlag returns a flag that is off unless it is there; help need not say so.
func boolFlag(name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, DisableDefaultText: true}
}

// accountFlag is that of commands that act for an account.
func accountFlag() cli.Flag {
	return &cli.StringFlag{Name: "account", Usage: "use the account `NAME` (CONFAB_ACCOUNT; the chosen or only one otherwise)"}
}

// passphraseFlag is that of commands that open or make an account.
func passphraseFlag() cli.Flag {
	return &cli.StringFlag{Name: "passphrase-file", Usage: "read the passphrase from `FILE`, one line (CONFAB_PASSPHRASE_FILE)"}
}

// newPassphraseFlag is that of commands that have two passphrases.
func newPassphraseFlag(of string) cli.Flag {
	return &cli.StringFlag{Name: "new-passphrase-file", Usage: "read the passphrase of " + of + " from `FILE`, one line (CONFAB_NEW_PASSPHRASE_FILE)"}
}

// phraseFlag is that of commands that need the recovery phrase.
func phraseFlag() cli.Flag {
	return boolFlag("phrase-stdin", "read the recovery phrase from stdin")
}
