package key_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cosmos/go-bip39"

	"github.com/confab-chat/confab/namesvc/key"
)

// phrases are the vectors of BIP-39 with 128 bits of entropy.
var phrases = []struct{ entropy, words string }{
	{"00000000000000000000000000000000", "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"},
	{"7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f", "legal winner thank year wave sausage worth useful legal winner thank yellow"},
	{"80808080808080808080808080808080", "letter advice cage absurd amount doctor acoustic avoid letter advice cage above"},
	{"ffffffffffffffffffffffffffffffff", "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong"},
	{"9e885d952ad362caeb4efe34a8e91bd2", "ozone drill grab fiber curtain grace pudding thank cruise elder eight picnic"},
	{"c0ba5a8e914111210f2bd131f3d5e08d", "scheme spot photo card baby mountain device kick cradle pact join borrow"},
	{"23db8160a31d3e0dca3688ed941adbf3", "cat swing flag economy stadium alone churn speed unique patch report train"},
	{"f30f8c1da665478f49b001d94c5fc452", "vessel ladder alter error federal sibling chat ability sun glass valve picture"},
}

func TestPhrase_WordsAreThoseOfBIP39(t *testing.T) {
	for _, c := range phrases {
		entropy, _ := hex.DecodeString(c.entropy)
		p, err := key.NewPhrase(bytes.NewReader(entropy))
		if err != nil || p.Reveal() != c.words {
			t.Errorf("%s: %q, %v", c.entropy, p.Reveal(), err)
		}
		again, err := key.ParsePhrase(c.words)
		if err != nil || again.Root(0).Public() != p.Root(0).Public() {
			t.Errorf("%s: does not read back: %v", c.words, err)
		}
	}
	if _, err := key.NewPhrase(strings.NewReader("too short")); err == nil {
		t.Error("a phrase was made of too little randomness")
	}
}

// TestPhrase_SeedIsThatOfBIP39 checks the library with BIP-39's own first vector,
// whose passphrase is TREZOR, and our use of it, with an empty passphrase, with
// the standard library.
func TestPhrase_SeedIsThatOfBIP39(t *testing.T) {
	const official = "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04"
	if got := hex.EncodeToString(bip39.NewSeed(phrases[0].words, "TREZOR")); got != official {
		t.Errorf("the library's seed is %s", got)
	}
	for _, c := range phrases {
		p, err := key.ParsePhrase(c.words)
		if err != nil {
			t.Fatal(err)
		}
		want, err := pbkdf2.Key(sha512.New, c.words, []byte("mnemonic"), 2048, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Master(); !bytes.Equal(got[:], want) {
			t.Errorf("%s: seed %x, want %x", c.words, got, want)
		}
	}
}

func TestParsePhrase_ForgivesCaseAndSpace(t *testing.T) {
	want, err := key.ParsePhrase(phrases[4].words)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		strings.ToUpper(phrases[4].words), "  " + strings.ReplaceAll(phrases[4].words, " ", " \n\t ") + "\n",
	} {
		p, err := key.ParsePhrase(text)
		if err != nil || p.Reveal() != want.Reveal() {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestParsePhrase_RefusesWithoutEcho: what is almost a phrase is almost a
// secret, and must not come back in an error that is logged.
func TestParsePhrase_RefusesWithoutEcho(t *testing.T) {
	good := phrases[4].words
	swapped := strings.Replace(good, "ozone drill", "drill ozone", 1)
	for name, text := range map[string]string{
		"empty": "", "eleven": strings.TrimPrefix(good, "ozone "), "thirteen": good + " ozone", "checksum": strings.Replace(good, "picnic", "zoo", 1),
		"order": swapped, "typo": strings.Replace(good, "curtain", "curtian", 1), "other language": strings.Replace(good, "ozone", "abeille", 1),
		"fifteen words":         "ozone ozone ozone " + good,
		"long":                  strings.Repeat(good+" ", 100),
		"prefixes of the words": "ozon dril grab fibe curt grac pudd than crui elde eigh picn",
	} {
		p, err := key.ParsePhrase(text)
		if !errors.Is(err, key.ErrPhrase) || p.Reveal() != "" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range strings.Fields(text) {
			if len(w) > 4 && strings.Contains(err.Error(), w) {
				t.Errorf("%s: the error %q repeats %q", name, err, w)
			}
		}
	}
	if (key.Phrase{}).Reveal() != "" {
		t.Error("the zero phrase has words")
	}
}

// TestPhrase_EveryChangedWordIsNoticed swaps in words until a checksum fits by
// chance, and counts: one in sixteen does.
func TestPhrase_EveryChangedWordIsNoticed(t *testing.T) {
	words := strings.Fields(phrases[5].words)
	passed := 0
	for i := range 512 {
		words[3] = bip39.WordList[i]
		if _, err := key.ParsePhrase(strings.Join(words, " ")); err == nil {
			passed++
		}
	}
	if passed < 16 || passed > 52 {
		t.Errorf("%d of 512 words pass the checksum, about 32 should", passed)
	}
}

// TestPhrase_RootsAreIndependent pins the derivation of root keys from a phrase:
// HKDF-SHA-256 over BIP-39's seed.
func TestPhrase_RootsAreIndependent(t *testing.T) {
	p, err := key.ParsePhrase(phrases[0].words)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[key.Public]bool{}
	for n := range uint32(5) {
		r := p.Root(n)
		if seen[r.Public()] || r.Public() != p.Root(n).Public() {
			t.Errorf("root %d", n)
		}
		seen[r.Public()] = true
	}
	if got := fmt.Sprint(p.Root(0).Public()); got != rootOfZero {
		t.Errorf("root 0 is %s", got)
	}
}

// rootOfZero is root key 0 of the phrase of 128 zero bits. Frozen: whoever has
// written a phrase down must find the same keys behind it for ever.
const rootOfZero = "5173c4a30fa428cc171c1e6cc1b310cdbdf31fe1dc14091378b72719c0cfbb2e"

func FuzzParsePhrase(f *testing.F) {
	for _, c := range phrases {
		f.Add(c.words)
	}
	f.Add("abandon about")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := key.ParsePhrase(text)
		if err != nil {
			return
		}
		again, err := key.ParsePhrase(p.Reveal())
		if err != nil || again.Reveal() != p.Reveal() || len(strings.Fields(p.Reveal())) != key.PhraseWords {
			t.Errorf("%q does not read back", p.Reveal())
		}
	})
}
