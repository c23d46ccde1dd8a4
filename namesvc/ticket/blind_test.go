package ticket_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc/ticket"
)

// TestVerify_IsThatOfTheRFC runs the vectors of RFC 9474, appendix A: those with
// a salt of 48 bytes hold, those without a salt are of another variant and do
// not.
func TestVerify_IsThatOfTheRFC(t *testing.T) {
	f, err := os.Open("testdata/rfc9474.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := map[string]string{}
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ": ")
		if v[name] = value; !ok || name != "sig" {
			continue
		}
		k := &rsa.PublicKey{N: new(big.Int).SetBytes(unhex(t, v["n"])), E: 65537}
		err := ticket.Verify(k, unhex(t, v["input_msg"]), unhex(t, v["sig"]))
		if good := strings.Contains(v["name"], "-PSS-"); (err == nil) != good {
			t.Errorf("%s: %v", v["name"], err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d vectors", n)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVerifyBlind_TakesWhatAnotherImplementationSignsBlindly has circl blind,
// sign and unblind, with chance as in earnest.
func TestVerifyBlind_TakesWhatAnotherImplementationSignsBlindly(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	challenge := ticket.Challenge("confab", [32]byte{1}, [32]byte{2})
	client, err := blindrsa.NewClient(blindrsa.SHA384PSSDeterministic, &k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	modulus := k.N.Bytes()
	var sigs [][]byte
	for range 2 {
		blinded, state, err := client.Blind(rand.Reader, challenge[:])
		if err != nil {
			t.Fatal(err)
		}
		signed, err := blindrsa.NewSigner(k).BlindSign(blinded)
		if err != nil {
			t.Fatal(err)
		}
		if ticket.VerifyBlind(modulus, challenge, signed) == nil {
			t.Error("it holds before it is unblinded")
		}
		sig, err := client.Finalize(state, signed)
		if err != nil {
			t.Fatal(err)
		}
		if err := ticket.VerifyBlind(modulus, challenge, sig); err != nil {
			t.Error(err)
		}
		sigs = append(sigs, sig)
	}
	if bytes.Equal(sigs[0], sigs[1]) {
		t.Error("two tickets of one challenge are the same: where is the salt?")
	}
}

func TestVerifyBlind_RefusesWhatIsAnother(t *testing.T) {
	mint, other := namescript.NewMint("harbor"), namescript.NewMint("quay")
	challenge := ticket.Challenge("confab", [32]byte{1}, [32]byte{2})
	sig, err := mint.Ticket(challenge)
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.VerifyBlind(mint.Key(), challenge, sig); err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).SetBytes(mint.Key())
	// The same number, written as one that is not below the modulus.
	above := new(big.Int).Add(new(big.Int).SetBytes(sig), n).Bytes()
	for name, c := range map[string]struct {
		key       []byte
		challenge [32]byte
		sig       []byte
	}{
		"commit":     {mint.Key(), ticket.Challenge("confab", [32]byte{3}, [32]byte{2}), sig},
		"checkpoint": {mint.Key(), ticket.Challenge("confab", [32]byte{1}, [32]byte{3}), sig},
		"chain":      {mint.Key(), ticket.Challenge("confab-2", [32]byte{1}, [32]byte{2}), sig},
		"key":        {other.Key(), challenge, sig},
		"bit":        {mint.Key(), challenge, flip(sig, 255)},
		"short":      {mint.Key(), challenge, sig[:255]},
		"long":       {mint.Key(), challenge, append([]byte{0}, sig...)},
		"empty":      {mint.Key(), challenge, nil},
		"zero":       {mint.Key(), challenge, make([]byte, 256)},
		"one":        {mint.Key(), challenge, append(make([]byte, 255), 1)},
		"modulus":    {mint.Key(), challenge, mint.Key()},
		"above":      {mint.Key(), challenge, above},
		"short key":  {mint.Key()[1:], challenge, sig},
		"even key":   {flip(mint.Key(), 255), challenge, sig},
	} {
		if err := ticket.VerifyBlind(c.key, c.challenge, c.sig); err == nil {
			t.Errorf("%s: accepted", name)
		} else if len(c.key) == 256 && c.key[255]&1 == 1 && !errors.Is(err, ticket.ErrTicket) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckKey_WantsAllBitsAndAnOddNumber(t *testing.T) {
	good := bytes.Repeat([]byte{0xff}, 256)
	if err := ticket.CheckKey(good); err != nil {
		t.Error(err)
	}
	for name, k := range map[string][]byte{
		"empty": nil, "short": good[1:], "long": append(bytes.Clone(good), 0xff), "even": flip(good, 255),
		"small": append([]byte{0x7f}, good[1:]...), "leading zero": append([]byte{0}, good...),
	} {
		if ticket.CheckKey(k) == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := ticket.PublicKey(k); err == nil {
			t.Errorf("%s: a key", name)
		}
	}
}

func TestBlindProof_SplitsBack(t *testing.T) {
	sponsor, sig := [32]byte{1, 2}, bytes.Repeat([]byte{7}, 256)
	p := ticket.BlindProof(sponsor, sig)
	gotSponsor, gotSig, ok := ticket.SplitBlind(p)
	if !ok || gotSponsor != sponsor || !bytes.Equal(gotSig, sig) {
		t.Errorf("%x %x %v", gotSponsor, gotSig, ok)
	}
	for _, b := range [][]byte{nil, p[1:], append(bytes.Clone(p), 0)} {
		if _, _, ok := ticket.SplitBlind(b); ok {
			t.Errorf("%d bytes are a payment", len(b))
		}
	}
}

// FuzzVerifyBlind: whatever a commit and a declaration bring, it is a verdict and
// no panic, and only the one signature holds.
func FuzzVerifyBlind(f *testing.F) {
	mint := namescript.NewMint("harbor")
	challenge := ticket.Challenge("confab", [32]byte{1}, [32]byte{2})
	sig, err := mint.Ticket(challenge)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(mint.Key(), challenge[:], sig)
	f.Add(bytes.Repeat([]byte{0xff}, 256), challenge[:], sig)
	f.Add(append([]byte{0x80}, append(make([]byte, 254), 1)...), make([]byte, 32), make([]byte, 256))
	f.Fuzz(func(t *testing.T, modulus, c, s []byte) {
		var on [32]byte
		copy(on[:], c)
		err := ticket.VerifyBlind(modulus, on, s)
		if err == nil && bytes.Equal(modulus, mint.Key()) && (on != challenge || !bytes.Equal(s, sig)) {
			t.Errorf("%x holds for %x", s, on)
		}
	})
}

func BenchmarkVerifyBlind(b *testing.B) {
	mint := namescript.NewMint("harbor")
	challenge := ticket.Challenge("confab", [32]byte{1}, [32]byte{2})
	sig, err := mint.Ticket(challenge)
	if err != nil {
		b.Fatal(err)
	}
	k := mint.Key()
	for b.Loop() {
		if err := ticket.VerifyBlind(k, challenge, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func flip(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}

// TestVerifyBlind_IsTheEquationForStrangeKeysToo: a sponsor may declare any odd number of
// 2048 bits, and all validators must agree about its tickets. A library that one
// day refused such keys would split the chain, so this test stands in the way of
// using it.
func TestVerifyBlind_IsTheEquationForStrangeKeysToo(t *testing.T) {
	one, e := big.NewInt(1), big.NewInt(65537)
	prime := func(bits int) *big.Int {
		for {
			p, err := rand.Prime(rand.Reader, bits)
			if err != nil {
				t.Fatal(err)
			}
			if new(big.Int).Mod(p, e).Cmp(one) != 0 {
				return p
			}
		}
	}
	times := func(list ...*big.Int) *big.Int {
		n := big.NewInt(1)
		for _, x := range list {
			n.Mul(n, x)
		}
		return n
	}
	less := func(p *big.Int) *big.Int { return new(big.Int).Sub(p, one) }
	challenge := ticket.Challenge("confab", [32]byte{1}, [32]byte{2})
	for name, grow := range map[string]func() (n, phi *big.Int){
		"a square": func() (*big.Int, *big.Int) {
			p := prime(1024)
			return times(p, p), times(p, less(p))
		},
		"three primes": func() (*big.Int, *big.Int) {
			p, q, r := prime(683), prime(683), prime(682)
			return times(p, q, r), times(less(p), less(q), less(r))
		},
	} {
		n, phi := grow()
		for n.BitLen() != 2048 {
			n, phi = grow()
		}
		client, err := blindrsa.NewClient(blindrsa.SHA384PSSDeterministic, &rsa.PublicKey{N: n, E: 65537})
		if err != nil {
			t.Fatal(err)
		}
		blinded, state, err := client.Blind(rand.Reader, challenge[:])
		if err != nil {
			t.Fatal(err)
		}
		d := new(big.Int).ModInverse(e, phi)
		signed := new(big.Int).Exp(new(big.Int).SetBytes(blinded), d, n).FillBytes(make([]byte, 256))
		sig, err := client.Finalize(state, signed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		modulus := n.FillBytes(make([]byte, 256))
		if err := ticket.VerifyBlind(modulus, challenge, sig); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ticket.VerifyBlind(modulus, challenge, flip(sig, 255)) == nil {
			t.Errorf("%s: another signature holds", name)
		}
	}
}
