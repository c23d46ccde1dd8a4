package main

import (
	"context"
	"io"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

// env is all that the program takes from outside.
type env struct {
	world     command.World
	person    terminal               // who can be asked, nil if nobody
	columns   func() int             // how wide the terminal of stderr is, 0 if unknown
	configDir func() (string, error) // where programs keep their settings
	now       func() time.Time
	rand      io.Reader
	cost      keyring.Cost   // of new passphrases
	patience  time.Duration  // with a network that is silent
	self      self           // empty if this program cannot start itself
	local     *time.Location // of times that people read
}

// terminal is the person at the keyboard.
type terminal interface {
	// ask shows the prompt and returns the line that is typed, without its
	// end. It returns command.ErrStopped if the person wants to stop, or if
	// ctx ends first; nothing can be asked after that.
	ask(ctx context.Context, prompt string) (string, error)
	// askHidden is the same and does not show what is typed.
	askHidden(ctx context.Context, prompt string) (string, error)
}

// call is one run of a command: what its action gets.
type call struct {
	*env
	*command.Call
}

// with turns an action of ours into one of the frame's.
func (e *env) with(action func(*call) error) func(*command.Call) error {
	return func(c *command.Call) error { return action(&call{env: e, Call: c}) }
}

// home returns the folder that holds everything of confab's on this machine.
func (c *call) home() (string, error) {
	if dir := c.Setting("home"); dir != "" {
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

// soonAccounts is openAccounts for what takes a moment: another confab that is
// just as quick is waited for.
func (c *call) soonAccounts() (*keyring.Ring, error) {
	for tries := 0; ; tries++ {
		r, err := c.openAccounts()
		if err == nil || wire.CodeOf(err) != wire.Unavailable || tries == 50 {
			return r, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-c.Ctx().Done():
			return nil, err
		}
	}
}

// account returns the account to use: the one named on the line, else the one of
// --account or CONFAB_ACCOUNT, else the default.
func (c *call) account(r keyring.Reader, named string) (keyring.Account, error) {
	if named == "" {
		named = c.Setting("account")
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
	return command.Bool("phrase-stdin", "read the recovery phrase from stdin")
}
