package keyring

import (
	"io"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Account is what this machine knows of an account without its passphrase. One
// that came from [New], [Restore] or [Account.Reencrypt] is on no disk until
// [Ring.Add] or [Ring.Replace] put it there.
type Account struct {
	Name    string // on this machine
	ID      namesvc.AccountID
	Kind    namesvc.Kind
	Genesis []byte     // exact bytes of the genesis op; empty if only the chain was asked
	Device  key.Public // this machine's device key
	Root    key.Public // the lower root key kept here, zero if none is
	Created time.Time  // when this machine got the account, to the second

	file file
	kdf  kdf
}

// Keys are the secrets of an account that this machine holds.
type Keys struct {
	Device key.Device
	Root   *key.Root // the lower root key, nil if none is kept here
	Vault  key.Vault // zero if this machine never had the phrase
}

// Options are a new account's choices.
type Options struct {
	Name    string
	NoRoot  bool // keep no lower root key: each change of keys then needs the phrase
	Created time.Time
}

// New makes an account that nobody knows of yet. Root 0 is the phrase's first
// root key and its successor the second; a lower root key, unless opt says not
// to, and the device key are random.
func New(rand io.Reader, phrase key.Phrase, kind namesvc.Kind, opt Options, p Protection) (Account, error) {
	keys, err := newKeys(rand, opt)
	if err != nil {
		return Account{}, err
	}
	keys.Vault = phrase.Vault()
	roots := []key.Public{phrase.Root(0).Public()}
	if keys.Root != nil {
		roots = append(roots, keys.Root.Public())
	}
	g, err := namesvc.NewGenesis(rand, kind, phrase.Root(1).Public().NextHash(), roots...)
	if err != nil {
		return Account{}, err
	}
	return encrypt(rand, header{Account: g.Account(), Kind: kind, Genesis: g.Encode()}, keys, opt, p)
}

// Identity is what must be known of an account to make keys for it on a new
// machine. It comes from a file ([Account.Identity]) or from a verified lookup.
type Identity struct {
	Account namesvc.AccountID
	Kind    namesvc.Kind
	Genesis []byte     // exact bytes of the genesis op, empty if they are not at hand
	Root    key.Public // root 0 as far as is known
}

// Identity returns what the account's genesis op proves about it, also if the
// passphrase is lost. It fails if the file carries no genesis op.
func (a Account) Identity() (Identity, error) {
	if len(a.Genesis) == 0 {
		return Identity{}, wire.Errorf(wire.NotFound, "account %q: this file carries no genesis op; look the account up by its handle instead", a.Name)
	}
	g, err := namesvc.DecodeGenesis(a.Genesis)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Account: g.Account(), Kind: g.Kind, Genesis: a.Genesis, Root: g.Roots[0]}, nil
}

// Restore makes new keys for an account that exists already. The phrase must
// have the identity's root 0 among its root keys; otherwise the error is of kind
// Unauthorized. The new device key and lower root key are worth something only
// once ops signed by root 0 add them to the account.
func Restore(rand io.Reader, phrase key.Phrase, id Identity, opt Options, p Protection) (Account, error) {
	if _, _, err := FindRoot(phrase, id.Root); err != nil {
		return Account{}, err
	}
	keys, err := newKeys(rand, opt)
	if err != nil {
		return Account{}, err
	}
	keys.Vault = phrase.Vault()
	return encrypt(rand, header{Account: id.Account, Kind: id.Kind, Genesis: id.Genesis}, keys, opt, p)
}

// Join makes a device key for an account that exists already, to be added by
// another device of its: no root key comes here. It is worth something once the
// account lists it.
func Join(rand io.Reader, id Identity, opt Options, p Protection) (Account, error) {
	opt.NoRoot = true
	keys, err := newKeys(rand, opt)
	if err != nil {
		return Account{}, err
	}
	return encrypt(rand, header{Account: id.Account, Kind: id.Kind, Genesis: id.Genesis}, keys, opt, p)
}

// maxRotations is how many root keys of a phrase FindRoot tries. Each costs
// about a millisecond, and nobody rotates root 0 once a year for a lifetime.
const maxRotations = 64

// FindRoot returns the phrase's root key whose public half is want, and its
// number, which is 0 until root 0 was rotated. If it is none of the first 64 the
// error is of kind Unauthorized.
func FindRoot(phrase key.Phrase, want key.Public) (key.Root, uint32, error) {
	for n := range uint32(maxRotations) {
		if r := phrase.Root(n); r.Public() == want {
			return r, n, nil
		}
	}
	return key.Root{}, 0, wire.Errorf(wire.Unauthorized, "this phrase is that of another account")
}

func newKeys(rand io.Reader, opt Options) (Keys, error) {
	device, err := key.NewDevice(rand)
	if err != nil || opt.NoRoot {
		return Keys{Device: device}, err
	}
	root, err := key.NewRoot(rand)
	return Keys{Device: device, Root: &root}, err
}

// encrypt completes the header and returns the account with its file.
func encrypt(rand io.Reader, h header, keys Keys, opt Options, p Protection) (Account, error) {
	if err := CheckName(opt.Name); err != nil {
		return Account{}, err
	}
	if err := p.check(); err != nil {
		return Account{}, err
	}
	if t := opt.Created.Unix(); t < 0 || t > maxSeconds {
		return Account{}, wire.Errorf(wire.Invalid, "account %q: its time of creation is out of range; set this machine's clock", opt.Name)
	}
	k, err := newKDF(rand, p.cost)
	if err != nil {
		return Account{}, err
	}
	h.Name, h.Created, h.KDF = opt.Name, uint64(opt.Created.Unix()), k
	h.Device = keys.Device.Public()
	secret := make([]byte, 0, maxSecret)
	defer func() { clear(secret[:cap(secret)]) }()
	seed := keys.Device.Seed()
	secret = append(secret, seed[:]...)
	if keys.Root != nil {
		h.Root = keys.Root.Public()
		seed = keys.Root.Seed()
		secret = append(secret, seed[:]...)
	}
	clear(seed[:])
	if !keys.Vault.IsZero() {
		secret = append(secret, keys.Vault[:]...)
	}
	f := file{Magic: magic, Version: version, Clear: wire.Encode(h)}
	aead, err := k.cipher(p.passphrase)
	if err != nil {
		return Account{}, err
	}
	f.Secret = aead.Seal(nil, k.Nonce[:], secret, f.associated())
	f.Sum = f.sum()
	// Reading it back refuses here, before anything is written, whatever the
	// reader of the file would refuse later.
	return Parse(wire.Encode(f))
}

// Unlock returns the account's keys. A wrong passphrase gives an error of kind
// Unauthorized.
func (a Account) Unlock(passphrase []byte) (Keys, error) {
	if len(passphrase) > MaxPassphrase {
		return Keys{}, a.wrong()
	}
	if err := a.kdf.Cost.check(); err != nil {
		return Keys{}, err
	}
	aead, err := a.kdf.cipher(passphrase)
	if err != nil {
		return Keys{}, err
	}
	secret := make([]byte, 0, maxSecret+chacha20poly1305.Overhead)
	defer func() { clear(secret[:cap(secret)]) }()
	secret, err = aead.Open(secret, a.kdf.Nonce[:], a.file.Secret, a.file.associated())
	if err != nil {
		return Keys{}, a.wrong()
	}
	keys := Keys{Device: key.DeviceFromSeed([key.SeedSize]byte(secret[:key.SeedSize]))}
	if !a.Root.IsZero() {
		root := key.RootFromSeed([key.SeedSize]byte(secret[key.SeedSize:]))
		keys.Root = &root
	}
	if n := secretSize(a.Root); len(secret) > n {
		keys.Vault = key.Vault(secret[n:])
	}
	// Whoever knows the passphrase may still have made a file whose parts
	// disagree, and a person would sign with other keys than those shown.
	if keys.Device.Public() != a.Device || keys.Root != nil && keys.Root.Public() != a.Root {
		return Keys{}, wire.Errorf(wire.Invalid, "account %q: its keys are not those that its file names; do not use this file", a.Name)
	}
	return keys, nil
}

func (a Account) wrong() error {
	return wire.Errorf(wire.Unauthorized, "account %q: the passphrase is wrong", a.Name)
}

// Reencrypt returns the account under another protection, with new salt and
// nonce, and under another name unless name is empty. It is how an account gets
// a new passphrase, is exported and is imported.
func (a Account) Reencrypt(rand io.Reader, passphrase []byte, name string, p Protection) (Account, error) {
	keys, err := a.Unlock(passphrase)
	if err != nil {
		return Account{}, err
	}
	if name == "" {
		name = a.Name
	}
	h := header{Account: a.ID, Kind: a.Kind, Genesis: a.Genesis}
	return encrypt(rand, h, keys, Options{Name: name, Created: a.Created}, p)
}

// File returns the account's file: what the folder holds, and what a person may
// carry to another machine.
func (a Account) File() []byte { return wire.Encode(a.file) }
