package key_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math/big"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

var update = flag.Bool("update", false, "rewrite vectors")

// TestPublic_RefusesExactlyTheSmallOrderPoints computes the eight points and
// goes through all their encodings, canonical or not.
func TestPublic_RefusesExactlyTheSmallOrderPoints(t *testing.T) {
	points := torsion()
	ys := map[string]bool{}
	for i, p := range points {
		if !p.small() || i > 0 && p.equal(neutral) {
			t.Fatalf("point %d is not of small order", i)
		}
		ys[p.y.String()] = true
		for _, b := range encodings(p) {
			if key.Public(b).Check() == nil {
				t.Errorf("%x, of small order, is accepted", b)
			}
		}
	}
	if len(ys) != 5 {
		t.Errorf("the eight points have %d different y", len(ys))
	}
	// Nothing else near is refused: neighbours in y, and torsion added to B.
	for _, p := range points {
		for _, step := range []int64{-1, 1} {
			y := mod(add(p.y, big.NewInt(step)))
			if ys[y.String()] {
				continue // of 0, 1 and -1 some are neighbours
			}
			if err := key.Public(bytes32(y)).Check(); err != nil {
				t.Errorf("y = %v: %v", y, err)
			}
		}
		if err := key.Public(base.plus(p).encode()).Check(); err != nil {
			t.Errorf("a point of mixed order: %v", err)
		}
	}
}

// encodings returns all 32-byte strings that a lenient decoder reads as p.
func encodings(p point) [][32]byte {
	var out [][32]byte
	for y := p.y; y.BitLen() <= 255; y = add(y, prime) {
		for _, sign := range []byte{0, 0x80} {
			b := bytes32(y)
			b[31] |= sign
			if q, ok := decode(b); ok && q.equal(p) {
				out = append(out, b)
			}
		}
	}
	return out
}

func TestPublic_RefusesUnreducedY(t *testing.T) {
	for n := int64(0); n < 19; n++ {
		for _, sign := range []byte{0, 0x80} {
			b := bytes32(add(prime, big.NewInt(n)))
			b[31] |= sign
			if key.Public(b).Check() == nil {
				t.Errorf("y = p + %d is accepted", n)
			}
		}
	}
	for n := int64(2); n < 30; n++ { // p-1 is of small order
		if err := key.Public(bytes32(sub(prime, big.NewInt(n)))).Check(); err != nil {
			t.Errorf("y = p - %d: %v", n, err)
		}
	}
}

// edge is a case for Verify.
type edge struct {
	name, about string
	tag         wire.Tag
	message     []byte
	key         [32]byte
	sig         key.Signature
	want        bool
}

// TestVerify_AcceptsExactlyTheStatedSet makes signatures at the edges of what
// Ed25519 implementations accept, states for each whether the verification
// equation holds, and compares with the vectors.
func TestVerify_AcceptsExactlyTheStatedSet(t *testing.T) {
	f := vectors.File{About: "Ed25519 at its edges: what every part of confab accepts, and what it refuses although\n" +
		"others may not. A signature is over tag and message. order_a and order_r say where the\n" +
		"points lie (small, prime, mixed, none if off the curve), the equations whether\n" +
		"[S]B = R + [k]A holds as it stands (cofactorless) and times eight (cofactored), with\n" +
		"encodings read leniently."}
	for _, e := range edges(t) {
		got := key.Verify(e.key, e.tag, e.message, e.sig) == nil
		if got != e.want {
			t.Errorf("%s: accepted is %v, want %v", e.name, got, e.want)
		}
		f.Vectors = append(f.Vectors, e.vector())
	}
	if err := vectors.Compare(filepath.Join("../../docs/vectors", "ed25519.txt"), f, *update); err != nil {
		t.Error(err)
	}
}

func (e edge) vector() vectors.Vector {
	r := [32]byte(e.sig[:32])
	cofactorless, cofactored := equations(e.key, r, little(e.sig[32:]), e.tag.Message(e.message))
	kind := func(b [32]byte) string {
		p, ok := decode(b)
		if !ok {
			return "none"
		}
		return p.kind()
	}
	var v vectors.Vector
	v.Name = e.name
	for _, f := range []struct {
		name  string
		value any
	}{
		{"about", e.about}, {"tag", strconv.Quote(string(e.tag))}, {"message", hex.EncodeToString(e.message)},
		{"key", hex.EncodeToString(e.key[:])}, {"signature", hex.EncodeToString(e.sig[:])},
		{"order_a", kind(e.key)}, {"order_r", kind(r)}, {"cofactorless", cofactorless}, {"cofactored", cofactored},
		{"expect", map[bool]string{true: "accepted", false: "refused"}[e.want]},
	} {
		v.Fields = append(v.Fields, vectors.Field{Name: f.name, Value: fmt.Sprint(f.value)})
	}
	return v
}

func edges(t *testing.T) []edge {
	t.Helper()
	var out []edge
	out = append(out, rfc8032(t)...)
	out = append(out, plain(t)...)
	out = append(out, smallOrder(t)...)
	return append(out, mixedOrder(t)...)
}

// rfc8032 are the test vectors of RFC 8032 §7.1, under the empty tag.
func rfc8032(t *testing.T) []edge {
	t.Helper()
	var out []edge
	for i, c := range []struct{ seed, message string }{
		{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", ""},
		{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72"},
		{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "af82"},
	} {
		seed, _ := hex.DecodeString(c.seed)
		message, _ := hex.DecodeString(c.message)
		k := ed25519.NewKeyFromSeed(seed)
		out = append(out, edge{
			fmt.Sprintf("rfc8032-%d", i+1), fmt.Sprintf("test %d of RFC 8032 §7.1", i+1), "", message,
			[32]byte(k.Public().(ed25519.PublicKey)), key.Signature(ed25519.Sign(k, message)), true,
		})
	}
	return out
}

// plain are an honest signature and what is wrong with small changes to it.
func plain(t *testing.T) []edge {
	t.Helper()
	seed := sha256.Sum256([]byte("edge"))
	d := key.DeviceFromSeed(seed)
	message := []byte("message")
	sig := d.SignOp(message)
	good := edge{"honest", "as every key makes them", wire.TagOp, message, d.Public(), sig, true}
	s := little(sig[32:])
	changed := func(name, about string, f func(*edge)) edge {
		e := good
		e.name, e.about, e.want = name, about, false
		f(&e)
		return e
	}
	list := []edge{
		good,
		changed("other-tag", "the signature was made for another purpose", func(e *edge) { e.tag = wire.TagDevice }),
		changed("no-tag", "the tag is missing", func(e *edge) { e.tag = "" }),
		changed("other-message", "the message is longer", func(e *edge) { e.message = []byte("message.") }),
		changed("s-plus-l", "S is not reduced: S + L", func(e *edge) { e.sig = signature([32]byte(sig[:32]), add(s, order)) }),
		changed("s-is-l", "S is the group order", func(e *edge) { e.sig = signature([32]byte(sig[:32]), order) }),
		changed("s-high-bit", "a high bit of S is set", func(e *edge) { e.sig[63] |= 0x80 }),
		changed("s-changed", "a low bit of S is another", func(e *edge) { e.sig[32] ^= 1 }),
		changed("r-changed", "a bit of R is another", func(e *edge) { e.sig[0] ^= 1 }),
		changed("r-sign", "R has the other sign", func(e *edge) { e.sig[31] ^= 0x80 }),
		changed("a-sign", "the key has the other sign", func(e *edge) { e.key[31] ^= 0x80 }),
		changed("a-off-curve", "no point of the curve has the key's y", func(e *edge) { e.key = offCurve(t) }),
		changed("r-off-curve", "no point of the curve has R's y", func(e *edge) {
			b := offCurve(t)
			copy(e.sig[:32], b[:])
		}),
		changed("a-unreduced", "the key's y is p + 3, which a lenient decoder reads as 3", func(e *edge) {
			e.key = bytes32(add(prime, big.NewInt(3)))
		}),
		changed("zero", "all bytes are zero", func(e *edge) { e.key, e.sig = [32]byte{}, key.Signature{} }),
	}
	return list
}

func offCurve(t *testing.T) [32]byte {
	t.Helper()
	for y := int64(2); ; y++ {
		if _, ok := lift(big.NewInt(y), false); !ok {
			return bytes32(big.NewInt(y))
		}
	}
}

// smallOrder are signatures whose equation holds because a point is of small
// order. One key and one signature fit many messages then.
func smallOrder(t *testing.T) []edge {
	t.Helper()
	var out []edge
	points := torsion()
	s := new(big.Int).Mod(little([]byte("a scalar for the small-order cases")), order)
	sB := base.times(s)
	for i, a := range points {
		for j, enc := range encodings(a) {
			name := fmt.Sprintf("a-small-%d-%d", i, j)
			// R = [S]B - [k]A for the k that R itself gives.
			out = append(out, find(t, name, "the key is of small order, R is not", enc, func(n int64) ([32]byte, *big.Int) {
				return sB.plus(points[n%8]).encode(), s
			}))
			out = append(out, find(t, "both-small-"+name[8:], "key and R are of small order and S is zero", enc, func(n int64) ([32]byte, *big.Int) {
				return points[n%8].encode(), new(big.Int)
			}))
		}
	}
	secret := new(big.Int).Mod(little([]byte("a secret for the small-order cases")), order)
	honest := base.times(secret).encode()
	for i, enc := range encodings(neutral) {
		message := []byte{0}
		k := challenge(enc, honest, wire.TagOp.Message(message))
		out = append(out, edge{
			fmt.Sprintf("r-neutral-%d", i), "R is the neutral element, the key is sound", wire.TagOp, message, honest,
			signature(enc, new(big.Int).Mod(mul(k, secret), order)), false,
		})
	}
	mixed := base.times(secret).plus(points[1]).encode()
	for i := range points {
		e := find(t, fmt.Sprintf("r-small-%d", i), "R is of small order, the key of mixed order", mixed, func(int64) ([32]byte, *big.Int) {
			return points[i].encode(), nil
		}, secret)
		out = append(out, e)
	}
	return out
}

// mixedOrder are signatures of keys with a part of small order. They are
// accepted where the equation holds as it stands, which only the key's owner
// can bring about.
func mixedOrder(t *testing.T) []edge {
	t.Helper()
	points := torsion()
	secret := new(big.Int).Mod(little([]byte("a secret for the mixed-order cases")), order)
	nonce := new(big.Int).Mod(little([]byte("a nonce for the mixed-order cases!")), order)
	make := func(name, about string, keyPart, noncePart int, holds, want bool) edge {
		a := base.times(secret).plus(points[keyPart]).encode()
		r := base.times(nonce).plus(points[noncePart]).encode()
		for n := int64(0); n < 1000; n++ {
			message := []byte(strconv.FormatInt(n, 10))
			k := challenge(r, a, wire.TagOp.Message(message))
			s := new(big.Int).Mod(add(nonce, mul(k, secret)), order)
			if ok, _ := equations(a, r, s, wire.TagOp.Message(message)); ok == holds {
				return edge{name, about, wire.TagOp, message, a, signature(r, s), want}
			}
		}
		t.Fatalf("%s: no message found", name)
		return edge{}
	}
	return []edge{
		make("a-mixed-holds", "the key is of mixed order, R of prime order; the equation holds", 1, 0, true, true),
		make("a-mixed-fails", "the key is of mixed order; the equation holds only times eight", 1, 0, false, false),
		make("both-mixed-holds", "key and R are of mixed order; the equation holds", 1, 3, true, true),
		make("both-mixed-fails", "key and R are of mixed order; the equation holds only times eight", 1, 3, false, false),
		make("a-mixed-2-holds", "the key has a part of order two; the equation holds", 4, 0, true, true),
		make("r-mixed", "R is of mixed order, the key of prime order; the equation holds only times eight", 0, 1, false, false),
	}
}

// find looks for a message under which the equation holds as it stands. Without
// a given S it is that of the secret key.
func find(t *testing.T, name, about string, a [32]byte, try func(n int64) ([32]byte, *big.Int), secret ...*big.Int) edge {
	t.Helper()
	for n := int64(0); n < 2000; n++ {
		message := []byte(strconv.FormatInt(n/8, 10))
		r, s := try(n)
		if s == nil {
			s = new(big.Int).Mod(mul(challenge(r, a, wire.TagOp.Message(message)), secret[0]), order)
		}
		if ok, _ := equations(a, r, s, wire.TagOp.Message(message)); ok {
			return edge{name, about, wire.TagOp, message, a, signature(r, s), false}
		}
	}
	t.Fatalf("%s: no message found", name)
	return edge{}
}

// TestVerify_AgreesWithTheEquation compares Verify with the plain arithmetic on
// honest signatures and on ones with a changed bit.
func TestVerify_AgreesWithTheEquation(t *testing.T) {
	for i := range 24 {
		d := key.DeviceFromSeed(sha256.Sum256([]byte{byte(i)}))
		message := []byte{byte(i)}
		sig := d.SignOp(message)
		if i%3 != 0 {
			sig[i*2] ^= 1 << (i % 8)
		}
		holds, _ := equations(d.Public(), [32]byte(sig[:32]), little(sig[32:]), wire.TagOp.Message(message))
		if got := key.Verify(d.Public(), wire.TagOp, message, sig) == nil; got != holds {
			t.Errorf("signature %d: accepted is %v, the equation holds is %v", i, got, holds)
		}
	}
}

func TestParsePublic_ReadsOnlyTheOneTextForm(t *testing.T) {
	p := key.DeviceFromSeed([32]byte{1}).Public()
	if got, err := key.ParsePublic(p.String()); err != nil || got != p {
		t.Errorf("%v, %v", got, err)
	}
	for name, text := range map[string]string{
		"empty": "", "short": p.String()[1:], "upper case": strings.ToUpper(p.String()), "long": p.String() + "00",
		"space": " " + p.String()[1:], "zero": strings.Repeat("0", 64), "one": "01" + strings.Repeat("0", 62), "prefix": "0x" + p.String()[2:],
	} {
		if _, err := key.ParsePublic(text); err == nil {
			t.Errorf("%s is accepted", name)
		} else if len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error repeats its input", name)
		}
	}
}

func FuzzParsePublic(f *testing.F) {
	f.Add(key.DeviceFromSeed([32]byte{1}).Public().String())
	f.Add("00")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := key.ParsePublic(s)
		if err != nil {
			return
		}
		if p.String() != s || p.Check() != nil || p.IsZero() {
			t.Errorf("%q reads as %v", s, p)
		}
	})
}

// FuzzVerify holds that what Verify accepts also satisfies the plain equation,
// and that nothing makes it panic.
func FuzzVerify(f *testing.F) {
	d := key.DeviceFromSeed([32]byte{1})
	sig, pub := d.SignOp([]byte("m")), d.Public()
	f.Add(pub[:], []byte("m"), sig[:])
	f.Fuzz(func(t *testing.T, k, msg, s []byte) {
		if len(k) != key.PublicSize || len(s) != key.SignatureSize {
			return
		}
		p, sig := key.Public(k), key.Signature(s)
		if key.Verify(p, wire.TagOp, msg, sig) != nil {
			return
		}
		if holds, _ := equations(p, [32]byte(sig[:32]), little(sig[32:]), wire.TagOp.Message(msg)); !holds {
			t.Errorf("accepted without the equation: %x %x %x", k, msg, s)
		}
	})
}
