package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/namesvc/wire"
)

func accountExport() verb {
	return verb{
		name:  "export",
		args:  "FILE",
		short: "write an account to a file, to move it to another machine",
		long: `Writes the account's keys to FILE, encrypted under a passphrase of the file's
own. A file that is there already is left alone. The file holds this machine's
device key, so use it to move or keep an account and not to have it on two
machines at once; it does not hold the recovery phrase.`,
		examples: []string{
			"confab account export me.confab",
			"confab account export --account work --passphrase-file pass.txt --new-passphrase-file file-pass.txt work.confab",
		},
		flags: []cli.Flag{accountFlag(), passphraseFlag(), newPassphraseFlag("the file")},
		run: func(c *call) error {
			path := c.Args().First()
			r, err := c.readAccounts()
			if err != nil {
				return err
			}
			a, err := c.account(r, "")
			if err != nil {
				return err
			}
			if _, err := os.Lstat(path); err == nil { // before anything is asked
				return taken(path)
			}
			out, err := c.reencrypt(a, "", "passphrase of "+a.Name, "passphrase for the file")
			if err != nil {
				return err
			}
			if err := writeNew(path, out.File()); err != nil {
				return err
			}
			c.say("on the other machine: confab account import FILE")
			v := view(r, a)
			v.File = path
			return c.print(v, v.write)
		},
	}
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
		return fmt.Errorf("export account: %w", err)
	}
	return nil
}

func accountImport() verb {
	return verb{
		name:  "import",
		args:  "FILE",
		short: "bring an account here from a file",
		long: `Reads a file that confab account export wrote. Asks for the file's passphrase and
for one that is to protect the keys on this machine.`,
		examples: []string{
			"confab account import me.confab",
			"confab account import --name work --passphrase-file file-pass.txt --new-passphrase-file pass.txt work.confab",
		},
		flags: []cli.Flag{nameFlag("as in the file"), passphraseFlag(), newPassphraseFlag("this machine")},
		run: func(c *call) error {
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
			c.say("account %s is here. stop using it on the machine it came from", a.Name)
			v := view(r.Reader, a)
			return c.print(v, v.write)
		},
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

// finder looks up the account that holds a handle, verified.
type finder func(c *call, handle string) (keyring.Identity, error)

func accountRestore(find finder) verb {
	v := verb{
		name:  "restore",
		short: "get an account back with its recovery phrase",
		long: `Makes new keys on this machine for an account whose keys or passphrase are lost.
The phrase shows whose you are; which account it is comes from a file of it, such
as an old export, whose passphrase is not needed.

The new keys count once the account lists them, which root 0 signs: the phrase is
asked for again then.`,
		examples: []string{
			"confab account restore --from me.confab",
			"confab account restore --from me.confab --phrase-stdin --passphrase-file pass.txt",
		},
		flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "the account is that of `FILE`, an export or a file of the accounts' folder"},
			nameFlag("as in the file, or " + firstName),
			boolFlag("no-root", "keep no lower root key on this machine"),
			phraseFlag(),
			passphraseFlag(),
		},
	}
	if find != nil {
		v.long = strings.Replace(v.long, "comes from a file of it, such\nas an old export, whose passphrase is not needed.",
			"comes from a handle of\nits, looked up on the chain, or from a file of it, such as an old export, whose\npassphrase is not needed.", 1)
		v.examples = append([]string{"confab account restore --handle alice"}, v.examples...)
		v.flags = append(v.flags, &cli.StringFlag{Name: "handle", Usage: "the account is the one that holds `HANDLE`"})
	}
	v.run = func(c *call) error { return restoreAccount(c, find) }
	return v
}

func restoreAccount(c *call, find finder) error {
	if (c.String("from") == "") == (find == nil || c.String("handle") == "") {
		if find == nil {
			return c.usagef("which account? name a file of it with --from FILE; see confab account restore --help")
		}
		return c.usagef("which account? name its handle with --handle, or a file of it with --from; see confab account restore --help")
	}
	r, err := c.openAccounts()
	if err != nil {
		return err
	}
	defer r.Close()
	id, called, err := c.identify(find)
	if err != nil {
		return err
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
	c.say("account %s is back with new keys. they count once the account lists them: see confab handle devices --help", a.Name)
	v := view(r.Reader, a)
	return c.print(v, v.write)
}

// identify says which account is to be restored, and what it might be called.
func (c *call) identify(find finder) (keyring.Identity, string, error) {
	if handle := c.String("handle"); find != nil && handle != "" {
		id, err := find(c, handle)
		return id, firstName, err
	}
	a, err := readAccountFile(c.String("from"))
	if err != nil {
		return keyring.Identity{}, "", err
	}
	id, err := a.Identity()
	return id, a.Name, err
}
