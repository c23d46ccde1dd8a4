package verify

import (
	"errors"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"

	"github.com/confab-chat/confab/namesvc/wire"
)

// possession is one that CometBFT's own key signs.
func possession(t testing.TB) Possession {
	t.Helper()
	k := secp256k1eth.GenPrivKeySecp256k1Eth([]byte("operator"))
	p := Possession{ChainID: "some-chain", Account: [32]byte{7, 7}, Key: [33]byte(k.PubKey().Bytes())}
	sig, err := k.Sign(PossessionMessage(p.ChainID, p.Account, p.Key))
	if err != nil {
		t.Fatal(err)
	}
	p.Signature = Signature(sig)
	return p
}

func TestPossession_HoldsForItsKeyChainAndAccountAlone(t *testing.T) {
	good := possession(t)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	other := secp256k1eth.GenPrivKeySecp256k1Eth([]byte("another")).PubKey().Bytes()
	for name, change := range map[string]func(*Possession){
		"another chain":     func(p *Possession) { p.ChainID = "some-chaim" },
		"another account":   func(p *Possession) { p.Account[31]++ },
		"another key":       func(p *Possession) { p.Key = [33]byte(other) },
		"a touched R":       func(p *Possession) { p.Signature[3] ^= 1 },
		"another parity":    func(p *Possession) { p.Signature[64] ^= 1 },
		"no signature":      func(p *Possession) { p.Signature = Signature{} },
		"no chain":          func(p *Possession) { p.ChainID = "" },
		"a chain too long":  func(p *Possession) { p.ChainID = strings.Repeat("x", MaxChainID+1) },
		"a key off the map": func(p *Possession) { p.Key = [33]byte{2, 5: 1} },
	} {
		p := good
		change(&p)
		err := p.Check()
		if !errors.Is(err, ErrSignature) && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ParsePossession(p.String()); err == nil {
			t.Errorf("%s: its text is taken", name)
		}
	}
}

// TestPossession_IsNoVote: what a consensus key signs for blocks never passes for
// a possession, nor the other way round.
func TestPossession_IsNoVote(t *testing.T) {
	m := PossessionMessage("some-chain", [32]byte{}, [33]byte{})
	if field, kind := m[1]>>3, m[1]&7; int(m[0]) < 2 || kind != 7 {
		t.Errorf("behind a length of %d comes field %d of wire type %d, which protobuf has", m[0], field, kind)
	}
}

func TestPossession_TextReadsBack(t *testing.T) {
	p := possession(t)
	got, err := ParsePossession(" " + p.String() + "\n")
	if err != nil || got != p {
		t.Errorf("%v, %v", got, err)
	}
	if size := len(wire.Encode(p)); size > MaxPossessionSize {
		t.Errorf("it has %d bytes", size)
	}
	for _, bad := range []string{"", "possession:", "possession:zz", p.String()[1:], strings.ToUpper(p.String()), p.String() + "00", p.String()[:60],
		"possession:" + strings.ToUpper(p.String()[len("possession:"):]), "possession:" + strings.Repeat("00", MaxPossessionSize+1)} {
		if _, err := ParsePossession(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

func FuzzParsePossession(f *testing.F) {
	f.Add(possession(f).String())
	f.Add("possession:80")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePossession(text)
		if err == nil && p.String() != strings.TrimSpace(text) {
			t.Errorf("%q reads back as %q", text, p.String())
		}
	})
}
