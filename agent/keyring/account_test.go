package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestNew_GrowsRootZeroFromThePhraseAndKeepsTheRestHere(t *testing.T) {
	a, phrase := make1(t, "alice"), newPhrase(t, "alice")
	g, err := namesvc.DecodeGenesis(a.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	keys := unlock(t, a, right())
	next := phrase.Root(1).Public().NextHash()
	switch {
	case g.Account() != a.ID || g.Kind != namesvc.Person || a.Kind != namesvc.Person:
		t.Error("the genesis op is not the account's")
	case len(g.Roots) != 2 || g.Roots[0] != phrase.Root(0).Public() || g.Roots[1] != a.Root:
		t.Error("the root keys are not the phrase's and the lower one")
	case !bytes.Equal(g.NextRoot, next[:]):
		t.Error("the next root is not the phrase's second")
	case keys.Device.Public() != a.Device || keys.Root == nil || keys.Root.Public() != a.Root:
		t.Error("the keys are not those of the clear part")
	case !a.Created.Equal(at()) || a.Name != "alice":
		t.Error("name or time is lost")
	}
}

func TestNew_WithoutRootKeepsNone(t *testing.T) {
	a, err := New(roll("x"), newPhrase(t, "x"), namesvc.Service, Options{Name: "x", NoRoot: true, Created: at()}, Protect(right(), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	g, err := namesvc.DecodeGenesis(a.Genesis)
	if err != nil || len(g.Roots) != 1 {
		t.Errorf("the genesis op has %d roots, want 1 (%v)", len(g.Roots), err)
	}
	if keys := unlock(t, a, right()); keys.Root != nil || !a.Root.IsZero() {
		t.Error("a lower root is kept")
	}
}

func TestNew_RefusesWhatNoFileMayHold(t *testing.T) {
	good := Options{Name: "a", Created: at()}
	for name, c := range map[string]struct {
		kind namesvc.Kind
		opt  Options
		p    Protection
	}{
		"no passphrase":   {namesvc.Person, good, Protect(nil, cheap())},
		"long passphrase": {namesvc.Person, good, Protect(make([]byte, MaxPassphrase+1), cheap())},
		"no cost":         {namesvc.Person, good, Protect(right(), Cost{})},
		"unknown kind":    {9, good, Protect(right(), cheap())},
		"no name":         {namesvc.Person, Options{Created: at()}, Protect(right(), cheap())},
		"name of a path":  {namesvc.Person, Options{Name: "../a", Created: at()}, Protect(right(), cheap())},
		"name of a flag":  {namesvc.Person, Options{Name: "-a", Created: at()}, Protect(right(), cheap())},
		"handle":          {namesvc.Person, Options{Name: "@alice", Created: at()}, Protect(right(), cheap())},
		"long name":       {namesvc.Person, Options{Name: strings.Repeat("a", 33), Created: at()}, Protect(right(), cheap())},
		"no clock":        {namesvc.Person, Options{Name: "a"}, Protect(right(), cheap())},
	} {
		if _, err := New(roll("x"), newPhrase(t, "x"), c.kind, c.opt, c.p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNew_SaysWhenRandomnessEnds(t *testing.T) {
	phrase := newPhrase(t, "x")
	// Device, root, salt of the genesis op, salt and nonce of the file.
	for n := range 32 + 32 + 16 + 16 + 24 {
		short := io.MultiReader(io.LimitReader(roll("x"), int64(n)), iotest.ErrReader(io.ErrUnexpectedEOF))
		_, err := New(short, phrase, namesvc.Person, Options{Name: "x", Created: at()}, Protect(right(), cheap()))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("after %d bytes of randomness the error is %v", n, err)
		}
	}
}

func TestUnlock_RefusesAWrongPassphrase(t *testing.T) {
	a := make1(t, "alice")
	for _, wrong := range [][]byte{nil, {}, []byte("Correct horse battery"), append(right(), 0), make([]byte, MaxPassphrase+1)} {
		_, err := a.Unlock(wrong)
		wantCode(t, err, wire.Unauthorized)
	}
	if _, err := (Account{}).Unlock(right()); err == nil {
		t.Error("an account that nothing made was unlocked")
	}
}

func TestParse_RefusesEveryFlippedBitAndEveryTruncation(t *testing.T) {
	good := make1(t, "alice").File()
	if _, err := Parse(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := Parse(good[:i]); err == nil {
			t.Errorf("cut off at byte %d it is accepted", i)
		}
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if _, err := Parse(bad); err == nil {
				t.Errorf("with bit %d of byte %d flipped it is accepted", bit, i)
			}
		}
	}
	if _, err := Parse(append(bytes.Clone(good), 0)); err == nil {
		t.Error("with a byte more it is accepted")
	}
}

// TestUnlock_RefusesEveryForgedByte is the same with the checksum put right, as
// someone would who wants to change what the owner sees.
func TestUnlock_RefusesEveryForgedByte(t *testing.T) {
	a := make1(t, "alice")
	forge := func(part string, i, bit int, change func(*file)) {
		f := a.file
		f.Clear, f.Secret = bytes.Clone(f.Clear), bytes.Clone(f.Secret)
		change(&f)
		f.Sum = f.sum()
		forged, err := Parse(wire.Encode(f))
		if err != nil {
			return
		}
		if _, err := forged.Unlock(right()); wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s, byte %d, bit %d: forged and accepted (%v)", part, i, bit, err)
		}
	}
	for bit := range 8 {
		for i := range a.file.Clear {
			forge("clear", i, bit, func(f *file) { f.Clear[i] ^= 1 << bit })
		}
		for i := range a.file.Secret {
			forge("secret", i, bit, func(f *file) { f.Secret[i] ^= 1 << bit })
		}
		forge("version", 0, bit, func(f *file) { f.Version ^= 1 << bit })
	}
}

func TestParse_SpendsNothingOnAHostileCost(t *testing.T) {
	a := make1(t, "alice")
	var h header
	if err := wire.Decode(a.file.Clear, &h, MaxFile); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Cost{
		{Passes: 0, MemoryKiB: 65536, Threads: 1},
		{Passes: 1, MemoryKiB: 65536, Threads: 0},
		{Passes: maxPasses + 1, MemoryKiB: 65536, Threads: 1},
		{Passes: 1 << 31, MemoryKiB: 65536, Threads: 1},
		{Passes: 1, MemoryKiB: minMemoryKiB - 1, Threads: 1},
		{Passes: 1, MemoryKiB: maxMemoryKiB + 1, Threads: 1},
		{Passes: 1, MemoryKiB: 1<<32 - 1, Threads: 1},
		{Passes: 1, MemoryKiB: 65536, Threads: maxThreads + 1},
		{Passes: 1, MemoryKiB: 65536, Threads: 255},
	} {
		f := a.file
		h.KDF.Cost = c
		f.Clear = wire.Encode(h)
		f.Sum = f.sum()
		b := wire.Encode(f)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse(b)
		runtime.ReadMemStats(&after)
		wantCode(t, err, wire.Invalid)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20 {
			t.Errorf("cost %v: %d bytes were allocated", c, spent)
		}
	}
	for _, c := range []Cost{cheap(), DefaultCost(), {Passes: maxPasses, MemoryKiB: maxMemoryKiB, Threads: maxThreads}} {
		if err := c.check(); err != nil {
			t.Errorf("cost %v: %v", c, err)
		}
	}
}

func TestParse_RefusesAHeaderThatContradictsItself(t *testing.T) {
	a, other := make1(t, "alice"), make1(t, "bob")
	for name, change := range map[string]func(*header){
		"another's genesis": func(h *header) { h.Genesis = other.Genesis },
		"another's id":      func(h *header) { h.Account = other.ID },
		"another kind":      func(h *header) { h.Kind = namesvc.Service },
		"no kind":           func(h *header) { h.Kind, h.Genesis = 0, nil },
		"no device":         func(h *header) { h.Device = key.Public{} },
		"root is no key":    func(h *header) { h.Root = key.Public{1} },
		"root is device":    func(h *header) { h.Root = h.Device },
		"root without one":  func(h *header) { h.Root = key.Public{} },
		"late":              func(h *header) { h.Created = 1 << 63 },
		"name":              func(h *header) { h.Name = "a/b" },
		"garbled genesis":   func(h *header) { h.Genesis = []byte{0x80} },
	} {
		var h header
		if err := wire.Decode(a.file.Clear, &h, MaxFile); err != nil {
			t.Fatal(err)
		}
		change(&h)
		f := a.file
		f.Clear = wire.Encode(h)
		f.Sum = f.sum()
		if _, err := Parse(wire.Encode(f)); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestParse_TellsANewerFormatFromDamage(t *testing.T) {
	f := make1(t, "alice").file
	f.Version, f.Clear = 2, []byte("something else")
	f.Sum = f.sum()
	_, err := Parse(wire.Encode(f))
	wantCode(t, err, wire.Invalid)
	if err == nil || !strings.Contains(err.Error(), "newer confab") {
		t.Errorf("error is %v", err)
	}
}

// TestUnlock_RefusesKeysOtherThanThoseNamed has a file by someone who knows the
// passphrase: properly encrypted, but with other keys inside.
func TestUnlock_RefusesKeysOtherThanThoseNamed(t *testing.T) {
	a, bobs := make1(t, "alice"), unlock(t, make1(t, "bob"), right())
	for name, keys := range map[string]Keys{
		"device": {Device: bobs.Device, Root: unlock(t, a, right()).Root},
		"root":   {Device: unlock(t, a, right()).Device, Root: bobs.Root},
	} {
		f := a.file
		device, root := keys.Device.Seed(), keys.Root.Seed()
		aead, err := a.kdf.cipher(right())
		if err != nil {
			t.Fatal(err)
		}
		f.Secret = aead.Seal(nil, a.kdf.Nonce[:], append(device[:], root[:]...), f.associated())
		f.Sum = f.sum()
		forged, err := Parse(wire.Encode(f))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := forged.Unlock(right()); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestReencrypt_ChangesThePassphraseAndNothingElse(t *testing.T) {
	a := make1(t, "alice")
	b, err := a.Reencrypt(roll("again"), right(), "", Protect([]byte("another one"), Cost{Passes: 2, MemoryKiB: 128, Threads: 2}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Unlock(right())
	wantCode(t, err, wire.Unauthorized)
	old, fresh := unlock(t, a, right()), unlock(t, b, []byte("another one"))
	switch {
	case b.Name != a.Name || b.ID != a.ID || b.Kind != a.Kind || !b.Created.Equal(a.Created) || !bytes.Equal(a.Genesis, b.Genesis):
		t.Error("the clear part changed")
	case old.Device.Seed() != fresh.Device.Seed() || old.Root.Seed() != fresh.Root.Seed():
		t.Error("the keys changed")
	case a.kdf.Salt == b.kdf.Salt || a.kdf.Nonce == b.kdf.Nonce:
		t.Error("salt or nonce is used again")
	}
	c, err := a.Reencrypt(roll("again"), right(), "other", Protect(right(), cheap()))
	if err != nil || c.Name != "other" {
		t.Errorf("the name is %q (%v)", c.Name, err)
	}
	_, err = a.Reencrypt(roll("again"), []byte("wrong"), "", Protect(right(), cheap()))
	wantCode(t, err, wire.Unauthorized)
}

func TestRestore_NeedsThePhraseAndMakesNewKeys(t *testing.T) {
	a := make1(t, "alice")
	id, err := a.Identity()
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Name: "again", Created: at().Add(time.Hour)}
	b, err := Restore(roll("new machine"), newPhrase(t, "alice"), id, opt, Protect([]byte("new"), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	keys := unlock(t, b, []byte("new"))
	if b.ID != a.ID || b.Kind != a.Kind || !bytes.Equal(a.Genesis, b.Genesis) {
		t.Error("it is another account")
	}
	if b.Device == a.Device || b.Root == a.Root || keys.Device.Public() != b.Device {
		t.Error("its keys are not new")
	}
	_, err = Restore(roll("new machine"), newPhrase(t, "bob"), id, opt, Protect([]byte("new"), cheap()))
	wantCode(t, err, wire.Unauthorized)
}

func TestRestore_TakesAnAccountThatOnlyTheChainKnows(t *testing.T) {
	a, phrase := make1(t, "alice"), newPhrase(t, "alice")
	id := Identity{Account: a.ID, Kind: a.Kind, Root: phrase.Root(3).Public()}
	b, err := Restore(roll("new machine"), phrase, id, Options{Name: "b", NoRoot: true, Created: at()}, Protect(right(), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	if b.ID != a.ID || len(b.Genesis) != 0 || !b.Root.IsZero() {
		t.Error("it is not what was asked for")
	}
	_, err = b.Identity()
	wantCode(t, err, wire.NotFound)
}

func TestJoin_BringsADeviceKeyAndNoRoot(t *testing.T) {
	a := make1(t, "alice")
	id, err := a.Identity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Join(roll("new machine"), id, Options{Name: "b", Created: at()}, Protect(right(), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	if keys := unlock(t, b, right()); keys.Root != nil || !b.Root.IsZero() || keys.Device.Public() != b.Device || b.Device == a.Device || b.ID != a.ID {
		t.Errorf("it is %+v", b)
	}
}

func TestFindRoot_KnowsARotatedOne(t *testing.T) {
	phrase := newPhrase(t, "alice")
	for _, n := range []uint32{0, 1, maxRotations - 1} {
		r, got, err := FindRoot(phrase, phrase.Root(n).Public())
		if err != nil || got != n || r.Public() != phrase.Root(n).Public() {
			t.Errorf("root %d: found %d (%v)", n, got, err)
		}
	}
	for _, stranger := range []key.Public{{}, phrase.Root(maxRotations).Public(), newPhrase(t, "bob").Root(0).Public()} {
		_, _, err := FindRoot(phrase, stranger)
		wantCode(t, err, wire.Unauthorized)
	}
}

// TestFile_NeverChanges holds the format: a file that a release has written must
// open in every later one.
func TestFile_NeverChanges(t *testing.T) {
	const golden = "testdata/account-1-vault.hex"
	if *update {
		if err := os.WriteFile(golden, []byte(hex.EncodeToString(make1(t, "golden").File())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	unlock(t, a, right())
	if !bytes.Equal(b, make1(t, "golden").File()) {
		t.Error("the same account is written differently now; the format is frozen")
	}
}

// A file from before there were vault keys opens, and has none.
func TestFile_OpensWithoutAVaultKey(t *testing.T) {
	text, err := os.ReadFile("testdata/account-1.hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if keys := unlock(t, a, right()); !keys.Vault.IsZero() || keys.Root == nil {
		t.Error("it has a vault key, or no root key")
	}
	if keys := unlock(t, make1(t, "golden"), right()); keys.Vault != newPhrase(t, "golden").Vault() {
		t.Error("a new account has not the phrase's vault key")
	}
}

// TestErrors_ContainNoSecret looks for each live secret, in each spelling that a
// careless format verb could give it, in what all failing paths say and in what
// the package's values print.
func TestErrors_ContainNoSecret(t *testing.T) {
	a, phrase := make1(t, "alice"), newPhrase(t, "alice")
	keys := unlock(t, a, right())
	id, err := a.Identity()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	logger := slog.New(slog.NewTextHandler(&said, nil))
	say := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("a path that should fail does not")
		}
		fmt.Fprintf(&said, "%v\n%+v\n%#v\n", err, err, err)
	}
	wrong := append(right(), '!')
	_, err = a.Unlock(wrong)
	say(err)
	_, err = a.Reencrypt(roll("x"), wrong, "", Protect(right(), cheap()))
	say(err)
	_, err = a.Reencrypt(roll("x"), right(), "no name", Protect(right(), cheap()))
	say(err)
	_, err = a.Reencrypt(iotest.ErrReader(io.EOF), right(), "", Protect(right(), cheap()))
	say(err)
	_, err = a.Reencrypt(roll("x"), right(), "", Protect(right(), Cost{}))
	say(err)
	_, err = Restore(roll("x"), newPhrase(t, "bob"), id, Options{Name: "b", Created: at()}, Protect(right(), cheap()))
	say(err)
	_, err = New(roll("x"), phrase, 0, Options{Name: "b", Created: at()}, Protect(right(), cheap()))
	say(err)
	_, err = Parse(a.File()[1:])
	say(err)
	dir := t.TempDir()
	r := open(t, dir)
	if err := r.Add(a); err != nil {
		t.Fatal(err)
	}
	say(r.Add(a))
	_, err = Open(dir)
	say(err)
	say(r.Replace(make1(t, "bob")))
	for _, v := range []any{a, &a, keys, &keys, id, phrase, Protect(right(), cheap()), r, a.kdf, a.file} {
		fmt.Fprintf(&said, "%v %+v %#v %s %q %x %d\n", v, v, v, v, v, v, v)
		logger.Info("value", "it", v)
	}
	device, root := keys.Device.Seed(), keys.Root.Seed()
	for name, secret := range map[string][]byte{
		"device seed": device[:], "root seed": root[:], "passphrase": right(), "wrong passphrase": wrong,
		"phrase": []byte(phrase.Reveal()), "start of the phrase": []byte(phrase.Reveal()[:16]),
	} {
		for _, spelling := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
			base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
			strings.Trim(fmt.Sprint(secret), "[]"), strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"),
		} {
			if strings.Contains(said.String(), spelling) {
				t.Errorf("the %s was said as %q", name, spelling)
			}
		}
	}
	if strings.Contains(string(a.File()), string(device[:])) || bytes.Contains(a.File(), root[:]) {
		t.Error("a seed is in the file in the clear")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make1(f, "alice").File())
	f.Add([]byte{})
	f.Add(wire.Encode(file{Magic: magic, Version: version}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(a.File(), b) {
			t.Error("what was read is not what is written")
		}
		if err := a.kdf.Cost.check(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzHeader puts the outer part right, so that the fuzzer reaches the inner one.
func FuzzHeader(f *testing.F) {
	a := make1(f, "alice")
	f.Add(a.file.Clear, a.file.Secret)
	f.Fuzz(func(t *testing.T, clear, secret []byte) {
		file := file{Magic: magic, Version: version, Clear: clear, Secret: secret}
		file.Sum = file.sum()
		a, err := Parse(wire.Encode(file))
		if err != nil {
			return
		}
		if len(a.Genesis) > 0 {
			if id, err := a.Identity(); err != nil || id.Account != a.ID || id.Kind != a.Kind {
				t.Errorf("the identity is not the account's (%v)", err)
			}
		}
	})
}
