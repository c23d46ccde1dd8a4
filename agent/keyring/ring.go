package keyring

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Files of a folder.
const (
	lockFile      = "lock"
	defaultFile   = "default"  // the id of the account that commands use
	accountSuffix = ".account" // after an account's id
	journalSuffix = ".journal" // after an account's id
)

// maxAccounts bounds how many accounts one folder has. A person has a few, and
// each is read to find one by its name.
const maxAccounts = 256

// Reader reads a folder of accounts. It takes no lock: each file is replaced as
// a whole, so it can be read while another process writes. Its methods may be
// called from several goroutines.
type Reader struct{ dir string }

// Read returns a Reader of the folder dir. A folder that does not exist has no
// accounts.
func Read(dir string) Reader { return Reader{dir: dir} }

// List returns the accounts in the order of their names. If some cannot be read
// it returns the others all the same, and an error that names those.
func (r Reader) List() ([]Account, error) {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	var list []Account
	var broken []error
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), accountSuffix)
		if !ok {
			continue
		}
		id, err := namesvc.ParseAccountID(text)
		if err != nil {
			continue // not one of ours
		}
		a, err := r.load(id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone since
		case err != nil:
			broken = append(broken, err)
		default:
			list = append(list, a)
		}
		if len(list)+len(broken) > maxAccounts {
			return nil, wire.Errorf(wire.Exhausted, "%s has more than %d accounts: move some away", r.dir, maxAccounts)
		}
	}
	slices.SortFunc(list, func(a, b Account) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID.String(), b.ID.String()))
	})
	return list, errors.Join(broken...)
}

// Load returns the account with this id, or with this name on this machine. The
// error is of kind NotFound if there is none.
func (r Reader) Load(nameOrID string) (Account, error) {
	if id, err := namesvc.ParseAccountID(nameOrID); err == nil {
		a, err := r.load(id)
		if errors.Is(err, fs.ErrNotExist) {
			return Account{}, wire.Errorf(wire.NotFound, "account %v is not on this machine", id)
		}
		return a, err
	}
	if err := CheckName(nameOrID); err != nil {
		return Account{}, err
	}
	list, broken := r.List()
	var found []Account
	for _, a := range list {
		if a.Name == nameOrID {
			found = append(found, a)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Account{}, wire.Errorf(wire.Conflict, "%d accounts are named %q: use the account's id", len(found), nameOrID)
	case broken != nil:
		return Account{}, wire.Errorf(wire.NotFound, "account %q is not among those that can be read: %w", nameOrID, broken)
	}
	return Account{}, wire.Errorf(wire.NotFound, "account %q is not on this machine", nameOrID)
}

// load reads one account's file. The error is fs.ErrNotExist if there is none.
func (r Reader) load(id namesvc.AccountID) (Account, error) {
	name := id.String() + accountSuffix
	b, err := read(r.dir, name, MaxFile)
	if err != nil {
		return Account{}, err
	}
	a, err := Parse(b)
	if err != nil {
		return Account{}, fmt.Errorf("%s: %w", filepath.Join(r.dir, name), err)
	}
	if a.ID != id {
		return Account{}, wire.Errorf(wire.Invalid, "%s is the file of account %v: give it back its name", filepath.Join(r.dir, name), a.ID)
	}
	return a, nil
}

// Default returns the account to use when none is named: the chosen one, or the
// only one. The error is of kind NotFound if there is none at all, and Invalid
// if there are several and none was chosen.
func (r Reader) Default() (Account, error) {
	id, chosen, err := r.chosen()
	if err != nil {
		return Account{}, err
	}
	if chosen {
		a, err := r.load(id)
		if !errors.Is(err, fs.ErrNotExist) {
			return a, err
		}
	}
	list, err := r.List()
	switch {
	case len(list) == 1 && err == nil:
		return list[0], nil
	case err != nil:
		return Account{}, err
	case len(list) == 0:
		return Account{}, wire.Errorf(wire.NotFound, "there is no account on this machine")
	}
	return Account{}, wire.Errorf(wire.Invalid, "there are %d accounts and none is chosen", len(list))
}

// chosen reads the choice of a default account.
func (r Reader) chosen() (id namesvc.AccountID, ok bool, err error) {
	b, err := read(r.dir, defaultFile, 2*len(id)+1)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	id, err = namesvc.ParseAccountID(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return id, false, wire.Errorf(wire.Invalid, "%s is damaged: choose the default account again", filepath.Join(r.dir, defaultFile))
	}
	return id, true, nil
}

// Ring is a folder of accounts that this process alone may change. It is not for
// use by several goroutines at once.
type Ring struct {
	Reader
	release func() error
}

// errHeld says that another process holds a folder.
var errHeld = errors.New("held by another process")

// Open takes the folder dir, making it if need be, and deletes what a crash left
// half written. While another process has it the error is of kind Unavailable.
// The caller closes the Ring.
func Open(dir string) (*Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open accounts: %w", err)
	}
	release, err := hold(filepath.Join(dir, lockFile))
	if errors.Is(err, errHeld) {
		hint := ""
		if lockOutlives {
			hint = "; if there is none, delete " + filepath.Join(dir, lockFile)
		}
		return nil, wire.Errorf(wire.Unavailable, "another confab is using %s: wait for it or end it%s", dir, hint)
	}
	if err != nil {
		return nil, fmt.Errorf("open accounts: %w", err)
	}
	r := &Ring{Reader: Reader{dir: dir}, release: release}
	if err := errors.Join(tighten(dir), sweep(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("open accounts: %w", err), r.Close())
	}
	return r, nil
}

// Close gives the folder back.
func (r *Ring) Close() error { return r.release() }

// tighten makes dir its owner's alone. The files are encrypted, but whoever can
// copy them can guess at the passphrase for as long as he likes.
func tighten(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// Add writes a new account. If the account or its name is there already the
// error is of kind Exists.
func (r *Ring) Add(a Account) error {
	switch old, err := r.load(a.ID); {
	case err == nil:
		return wire.Errorf(wire.Exists, "account %v is on this machine already, as %q", a.ID, old.Name)
	case !errors.Is(err, fs.ErrNotExist):
		return wire.Errorf(wire.Exists, "account %v is on this machine already but cannot be read; move its file away: %w", a.ID, err)
	}
	if err := r.Free(a.Name); err != nil {
		return err
	}
	return r.put(a)
}

// Free reports whether a new account may have this name. If not, the error is of
// kind Exists, or Invalid if nothing can be so named.
func (r Reader) Free(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	list, err := r.List()
	if wire.CodeOf(err) == wire.Exhausted {
		return err
	}
	if len(list) >= maxAccounts {
		return wire.Errorf(wire.Exhausted, "%s has %d accounts, and no more fit: move some away", r.dir, len(list))
	}
	for _, a := range list {
		if a.Name == name {
			return wire.Errorf(wire.Exists, "there is an account named %q already: choose another name", name)
		}
	}
	return nil
}

// Replace writes an account anew that is there already, such as one under a new
// passphrase. The name must be the one it had.
func (r *Ring) Replace(a Account) error {
	old, err := r.Load(a.ID.String())
	if err != nil {
		return err
	}
	if old.Name != a.Name || old.Device != a.Device {
		return wire.Errorf(wire.Conflict, "account %q: what is to replace it has another name or other keys", old.Name)
	}
	return r.put(a)
}

func (r *Ring) put(a Account) error {
	if a.file.Version == 0 {
		return wire.Errorf(wire.Internal, "an account that nothing made cannot be written")
	}
	return write(r.dir, a.ID.String()+accountSuffix, a.File())
}

// Remove deletes the keys that this machine has of an account, and what is under
// way for it. The error is of kind NotFound if it is not here.
func (r *Ring) Remove(id namesvc.AccountID) error {
	name := id.String() + accountSuffix
	if _, err := os.Lstat(filepath.Join(r.dir, name)); errors.Is(err, fs.ErrNotExist) {
		return wire.Errorf(wire.NotFound, "account %v is not on this machine", id)
	}
	// The account goes first: what a crash leaves of the rest does no harm.
	for _, name := range []string{name, id.String() + journalSuffix} {
		if err := remove(r.dir, name); err != nil {
			return fmt.Errorf("remove account %v: %w", id, err)
		}
	}
	if chosen, ok, err := r.chosen(); err != nil || !ok || chosen != id {
		return err
	}
	if err := remove(r.dir, defaultFile); err != nil {
		return fmt.Errorf("remove account %v: %w", id, err)
	}
	return nil
}

// Choose makes the account the one to use when none is named.
func (r *Ring) Choose(id namesvc.AccountID) error {
	if _, err := r.Load(id.String()); err != nil {
		return err
	}
	return write(r.dir, defaultFile, []byte(id.String()+"\n"))
}
