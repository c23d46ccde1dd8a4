package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

func accountExport(e *env) command.Verb {
	return command.Verb{
		Name:  "export",
		Args:  "FILE",
		Short: "write an account to a file, to take it elsewhere",
		Long: `Writes the account's keys to FILE, encrypted under a passphrase of the file's
own. A file that is there already is left alone. The file holds this
machine's device key, so use it to move or keep an account and not to have it
on two machines at once; it does not hold the recovery phrase.`,
		Examples: []string{
			"confab account export me.confab",
			"confab account export --account work --passphrase-file pass.txt --new-passphrase-file file-pass.txt work.confab",
		},
		Flags: []cli.Flag{accountFlag(), passphraseFlag(), newPassphraseFlag("the file")},
		Run: e.with(func(c *call) error {
			path := c.Args().First()
			r, err := c.readAccounts()
			if err != nil {
				return err
			}
			a, err := c.account(r, "")
			if err != nil {
				return err
			}
			if err := free(path); err != nil { // before anything is asked
				return err
			}
			out, err := c.reencrypt(a, "", "passphrase of "+a.Name, "passphrase for the file")
			if err != nil {
				return err
			}
			if err := writeNew(path, out.File()); err != nil {
				return err
			}
			c.Say("on the other machine: confab account import %s", filepath.Base(path))
			v := view(r, a)
			v.File = path
			return c.Print(v, v.write)
		}),
	}
}

// free reports whether a file can be written that must not be there yet.
func free(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return taken(path)
	}
	return nil
}

func taken(path string) error {
	return wire.Errorf(wire.Exists, "%s is there already: choose another file", path)
}

// writeNew writes a file that only its owner can read and that was not there.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return taken(path)
	}
	if err != nil {
		return wire.Errorf(wire.Invalid, "%w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func accountImport(e *env) command.Verb {
	return command.Verb{
		Name:  "import",
		Args:  "FILE",
		Short: "bring an account here from a file",
		Long: `Reads a file that confab account export wrote. Asks for the file's passphrase
and for one that is to protect the keys on this machine.`,
		Examples: []string{
			"confab account import me.confab",
			"confab account import --name work --passphrase-file file-pass.txt --new-passphrase-file pass.txt work.confab",
		},
		Flags: []cli.Flag{nameFlag("as in the file"), passphraseFlag(), newPassphraseFlag("this machine")},
		Run: e.with(func(c *call) error {
			a, err := readAccountFile(c.Args().First())
			if err != nil {
				return err
			}
			r, err := c.openAccounts()
			if err != nil {
				return err
			}
			defer r.Close()
			name, err := c.freeName(r.Reader, a.Name)
			if err != nil {
				return err
			}
			a, err = c.reencrypt(a, name, "passphrase of the file", "passphrase for the keys on this machine")
			if err != nil {
				return err
			}
			if err := r.Add(a); err != nil {
				return err
			}
			c.Say("account %s is here. stop using it on the machine it came from", a.Name)
			v := view(r.Reader, a)
			return c.Print(v, v.write)
		}),
	}
}

func readAccountFile(path string) (keyring.Account, error) {
	b, err := readFile(path, keyring.MaxFile)
	if err != nil {
		return keyring.Account{}, err
	}
	a, err := keyring.Parse(b)
	if err != nil {
		return keyring.Account{}, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

func accountRestore(e *env) command.Verb {
	return command.Verb{
		Name:  "restore",
		Short: "get an account back with its recovery phrase",
		Long: `Makes new keys on this machine for an account whose keys or passphrase are
lost. The phrase shows whose you are; which account it is comes from a handle
of its, looked up on the chain, or from a file of it, such as an old export,
whose passphrase is not needed.

The new keys count once the account lists them, which root 0 signs: confab
handle devices --join asks for the phrase again and does that.`,
		Examples: []string{
			"confab account restore --handle alice",
			"confab account restore --from me.confab",
			"confab account restore --from me.confab --phrase-stdin --passphrase-file pass.txt",
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "handle", Usage: "the account is the one that holds `HANDLE`"},
			&cli.StringFlag{Name: "from", Usage: "the account is that of `FILE`, an export or a file of the accounts' folder"},
			nameFlag("as in the file, or " + firstName),
			command.Bool("no-root", "keep no lower root key on this machine"),
			networkFlag(),
			phraseFlag(),
			passphraseFlag(),
		},
		Run: e.with(restoreAccount),
	}
}

func restoreAccount(c *call) error {
	if (c.String("from") == "") == (c.String("handle") == "") {
		return c.Usagef("which account? name its handle with --handle, or a file of it with --from; see confab account restore --help")
	}
	r, err := c.openAccounts()
	if err != nil {
		return err
	}
	defer r.Close()
	id, called, err := c.identify()
	if err != nil {
		return err
	}
	if a, err := r.Load(id.Account.String()); err == nil { // before anything is asked
		return wire.Errorf(wire.Exists, "account %v is on this machine already, as %q; to give it new keys here, remove it first: confab account remove %s", a.ID, a.Name, a.Name)
	}
	name, err := c.freeName(r.Reader, called)
	if err != nil {
		return err
	}
	phrase, err := c.phrase()
	if err != nil {
		return err
	}
	if _, _, err := keyring.FindRoot(phrase, id.Root); err != nil { // before more is asked
		return err
	}
	passphrase, err := c.newPassphrase("passphrase-file", "passphrase for the keys on this machine")
	defer clear(passphrase)
	if err != nil {
		return err
	}
	opt := keyring.Options{Name: name, NoRoot: c.Bool("no-root"), Created: c.now()}
	a, err := keyring.Restore(c.rand, phrase, id, opt, keyring.Protect(passphrase, c.cost))
	if err != nil {
		return err
	}
	if err := r.Add(a); err != nil {
		return err
	}
	c.Say("account %s is back with new keys. they count once the account lists them: see confab handle devices --help", a.Name)
	v := view(r.Reader, a)
	return c.Print(v, v.write)
}

// identify says which account is to be restored, and what it might be called.
func (c *call) identify() (keyring.Identity, string, error) {
	if handle := c.String("handle"); handle != "" {
		id, err := c.findAccount(handle)
		return id, firstName, err
	}
	a, err := readAccountFile(c.String("from"))
	if err != nil {
		return keyring.Identity{}, "", err
	}
	id, err := a.Identity()
	return id, a.Name, err
}
