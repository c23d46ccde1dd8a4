package mls

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
)

// TestSecrets_NoneInErrorsOrPrintedValues runs every failure path it can find
// and searches everything that a program might log for every live secret.
func TestSecrets_NoneInErrorsOrPrintedValues(t *testing.T) {
	for _, id := range []CipherSuite{X25519AES128, XWingAES128} {
		groups := listeners(t, id, anyPolicy())
		receiver := groups[3]
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		jlog := slog.New(slog.NewJSONHandler(&out, nil))
		show := func(values ...any) {
			for _, v := range values {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
					fmt.Fprintf(&out, verb+"\n", v)
				}
				log.Error("x", "v", v)
				jlog.Error("x", "v", v)
				if b, err := json.Marshal(v); err == nil {
					out.Write(b)
				}
			}
		}
		list := samples(t, groups)
		failures := 0
		for _, s := range list {
			mutations(s.bytes, 17, func(b []byte) {
				m, err := ParseMessage(b)
				if err == nil {
					_, err = receiver.Receive(m, nil)
				}
				if err != nil {
					failures++
					fmt.Fprintf(&out, "%v|%+v|%#v\n", err, err, err)
				}
			})
		}
		k, ks, err := NewKeyPackage(testRand(40), id, testSigner(102), LeafTemplate{Credential: BasicCredential([]byte("n"))}, Lifetime{0, 9})
		noError(t, err)
		committed, err := groups[0].Commit(testRand(41), CommitOptions{Path: true, Proposals: []Proposal{AddProposal(k)}})
		noError(t, err)
		w, err := ParseMessage(committed.Welcome)
		noError(t, err)
		_, wrong, err := NewKeyPackage(testRand(42), id, testSigner(102), LeafTemplate{Credential: BasicCredential([]byte("n"))}, Lifetime{0, 9})
		noError(t, err)
		_, _, err = Join(w.Welcome, k, wrong, JoinOptions{Signer: testSigner(102), Policy: anyPolicy()})
		show(err)
		_, _, err = Join(w.Welcome, k, ks, JoinOptions{Signer: testSigner(1), Policy: anyPolicy()})
		show(err)
		for _, r := range receiver.Snapshot() {
			_, err := Load(append(receiver.Snapshot()[:3:3], Record{r.Key, r.Value[1:]}), anyPolicy())
			show(err, r)
			_, err = Load([]Record{{r.Key, r.Value}}, anyPolicy())
			show(err)
		}
		psk, err := ExternalPSKProposal(testRand(43), []byte("missing"))
		noError(t, err)
		_, err = groups[0].Commit(testRand(44), CommitOptions{Proposals: []Proposal{psk}})
		show(err)
		st, err := committed.Staged.MarshalBinary()
		noError(t, err)
		_, err = groups[0].LoadStaged(st[:len(st)-1])
		show(err)
		show(receiver, groups[0], committed, *committed, committed.Staged, ks, *ks, receiver.TakeDelta(), k, w, secret("0123456789abcdef"))

		var live [][]byte
		for _, g := range groups {
			live = append(live, Secrets(g)...)
		}
		live = append(live, ks.init, ks.leaf, wrong.init, wrong.leaf, []byte("0123456789abcdef"))
		live = append(live, *committed.Staged.next.secrets.all()[0], committed.Staged.next.secrets.init)
		for _, k := range committed.Staged.priv {
			live = append(live, k)
		}
		text := out.Bytes()
		for i, s := range live {
			decimal := fmt.Sprint([]byte(s))
			for _, form := range [][]byte{s, []byte(hex.EncodeToString(s)), bytes.ToUpper([]byte(hex.EncodeToString(s))),
				[]byte(base64.StdEncoding.EncodeToString(s)), []byte(decimal[1 : len(decimal)-1])} {
				if bytes.Contains(text, form) {
					at := bytes.Index(text, form)
					t.Errorf("live secret %d was printed: …%.60q", i, text[max(0, at-60):at])
				}
			}
		}
		if failures < 200 || len(live) < 40 {
			t.Errorf("only %d failures and %d secrets were tried", failures, len(live))
		}
		t.Logf("%v: %d failures, %d live secrets, %d bytes searched", id, failures, len(live), len(text))
	}
}

func TestDeterminism_SameRandomnessSameBytes(t *testing.T) {
	run := func() []byte {
		groups := listeners(t, X25519ChaCha20, anyPolicy())
		var out []byte
		for _, s := range samples(t, groups) {
			out = append(out, s.bytes...)
		}
		return append(out, state(groups[3])...)
	}
	if !slices.Equal(run(), run()) {
		t.Error("two runs with the same randomness differ")
	}
}
