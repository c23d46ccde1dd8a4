package keyring

import (
	"crypto/sha256"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// The format of an account's file, version 1. It is frozen: testdata holds one
// that must open for ever.
const (
	magic   = "confab account"
	version = 1
)

// file is an account's file: canonical CBOR, an array of these five.
type file struct {
	_       struct{} `cbor:",toarray"`
	Magic   string
	Version uint8
	Clear   []byte // encoding of a header
	// Secret is the encryption of the device key's seed, followed by the lower
	// root key's if there is one and by the vault key if this machine had the
	// phrase: 32 to 96 bytes and the tag of 16. Whether the second is a root key
	// says the header. It is not CBOR, because a CBOR encoder leaves copies in buffers that nobody wipes.
	Secret []byte
	// Sum is the SHA-256 of the file with Sum all zero. It tells a damaged file
	// from a wrong passphrase, and keeps nobody from forging anything.
	Sum [32]byte
}

// header is the clear part, all of it associated data of the encryption.
type header struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Account namesvc.AccountID
	Kind    namesvc.Kind
	Genesis []byte     // exact bytes, empty for an account known from the chain alone
	Device  key.Public // of the device key inside
	Root    key.Public // of the lower root key inside, zero if there is none
	Created uint64     // seconds since 1970
	KDF     kdf
}

// Bounds of a file.
const (
	// MaxFile bounds an account's file in bytes. The largest legal one, with a
	// genesis op of five root keys, has under 900.
	MaxFile = 2048
	// maxSeconds is the end of the year 9999, the last that RFC 3339 can say.
	maxSeconds = 253402300799
)

// sum returns what Sum must be.
func (f file) sum() [32]byte {
	f.Sum = [32]byte{}
	return sha256.Sum256(wire.Encode(f))
}

// associated returns the associated data of Secret: the file with Secret empty
// and Sum all zero.
func (f file) associated() []byte {
	f.Secret, f.Sum = nil, [32]byte{}
	return wire.Encode(f)
}

// Parse reads an account's file, as it lies in the folder or came from
// [Account.File]. The result is hearsay until [Account.Unlock] succeeds, except
// for what its genesis op proves ([Account.Identity]).
func Parse(b []byte) (Account, error) {
	var f file
	if err := wire.Decode(b, &f, MaxFile); err != nil || f.Magic != magic {
		return Account{}, wire.Errorf(wire.Invalid, "this is no account file, or it is damaged")
	}
	if f.Version != version {
		return Account{}, wire.Errorf(wire.Invalid, "this account file has version %d and this program knows version %d: use a newer confab", f.Version, version)
	}
	if f.sum() != f.Sum {
		return Account{}, wire.Errorf(wire.Invalid, "this account file is damaged: its checksum is wrong")
	}
	var h header
	if err := wire.Decode(f.Clear, &h, MaxFile); err != nil {
		return Account{}, wire.Errorf(wire.Invalid, "this account file is malformed: %w", err)
	}
	if err := h.check(); err != nil {
		return Account{}, err
	}
	if want := secretSize(h.Root) + 16; len(f.Secret) != want && len(f.Secret) != want+len(key.Vault{}) {
		return Account{}, wire.Errorf(wire.Invalid, "this account file is malformed: its secret has %d bytes, not %d", len(f.Secret), want)
	}
	return Account{
		Name: h.Name, ID: h.Account, Kind: h.Kind, Genesis: h.Genesis,
		Device: h.Device, Root: h.Root, Created: time.Unix(int64(h.Created), 0).UTC(), file: f, kdf: h.KDF,
	}, nil
}

// maxSecret is the most that is encrypted.
const maxSecret = 2*key.SeedSize + len(key.Vault{})

// secretSize returns the size of the keys that are encrypted, but for the vault's.
func secretSize(root key.Public) int {
	if root.IsZero() {
		return key.SeedSize
	}
	return 2 * key.SeedSize
}

func (h header) check() error {
	if err := CheckName(h.Name); err != nil {
		return err
	}
	if err := h.KDF.Cost.check(); err != nil {
		return err
	}
	bad := func(what string) error {
		return wire.Errorf(wire.Invalid, "this account file is malformed: %s", what)
	}
	switch {
	case h.Kind < namesvc.Person || h.Kind > namesvc.Service:
		return bad("its kind is unknown")
	case h.Created > maxSeconds:
		return bad("its time is out of range")
	case h.Device.Check() != nil:
		return bad("its device key is no key")
	case !h.Root.IsZero() && h.Root.Check() != nil:
		return bad("its root key is no key")
	case h.Device == h.Root:
		return bad("its device key is its root key")
	case len(h.Genesis) == 0:
		return nil
	}
	g, err := namesvc.DecodeGenesis(h.Genesis)
	switch {
	case err != nil:
		return wire.Errorf(wire.Invalid, "this account file is malformed: %w", err)
	case g.Account() != h.Account:
		return bad("its genesis op is that of another account")
	case g.Kind != h.Kind:
		return bad("its genesis op is of another kind")
	}
	return nil
}

// Names of accounts on this machine.
const (
	// maxName keeps lists narrow, and a name shorter than an account id, so
	// that neither is taken for the other.
	maxName = 32
)

// CheckName reports what is wrong with a name for an account on this machine.
// Such a name is this machine's own business and not a handle; it has 1 to 32 of
// a-z, 0-9, - and _, and begins with a letter or digit.
func CheckName(name string) error {
	if len(name) < 1 || len(name) > maxName {
		return wire.Errorf(wire.Invalid, "account name: it must have 1 to %d characters", maxName)
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case i > 0 && (c == '-' || c == '_'):
		default:
			return wire.Errorf(wire.Invalid, "account name %q: use a to z, 0 to 9, - and _, and begin with a letter or digit", name)
		}
	}
	return nil
}
