package mls

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// testRand is a deterministic source of randomness.
func testRand(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// vectors reads an official vector file, as it is in testdata.
func vectors[T any](t testing.TB, name string) []T {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var list []T
	if err := json.NewDecoder(z).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

// tally counts what happened to the cases of a file, by suite, and says so.
type tally map[string]int

func (c tally) report(t *testing.T, file string, wantRun int) {
	t.Helper()
	var parts []string
	run := 0
	for k, n := range c {
		parts = append(parts, fmt.Sprintf("%s: %d", k, n))
		if !strings.Contains(k, "unsupported") {
			run += n
		}
	}
	sort.Strings(parts)
	t.Logf("%s: %s", file, strings.Join(parts, ", "))
	if run != wantRun {
		t.Errorf("%s: ran %d cases, want %d", file, run, wantRun)
	}
}

// supported looks a suite up and counts the case.
func (c tally) supported(id CipherSuite) (suite, bool) {
	s, err := id.lookup()
	if err != nil {
		c[fmt.Sprintf("suite %d unsupported", id)]++
		return s, false
	}
	c[fmt.Sprintf("suite %d", id)]++
	return s, true
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, want %x", what, got, want)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestVectors_TreeMath(t *testing.T) {
	type vector struct {
		Leaves  int          `json:"n_leaves"`
		Nodes   int          `json:"n_nodes"`
		Root    nodeIndex    `json:"root"`
		Left    []*nodeIndex `json:"left"`
		Right   []*nodeIndex `json:"right"`
		Parent  []*nodeIndex `json:"parent"`
		Sibling []*nodeIndex `json:"sibling"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "tree-math") {
		c["all"]++
		if got := 2*v.Leaves - 1; got != v.Nodes {
			t.Errorf("%d leaves: %d nodes, want %d", v.Leaves, got, v.Nodes)
		}
		if got := rootOf(v.Leaves); got != v.Root {
			t.Errorf("%d leaves: root %d, want %d", v.Leaves, got, v.Root)
		}
		for i := range nodeIndex(v.Nodes) {
			for _, f := range []struct {
				name string
				want *nodeIndex
				has  bool
				get  func() nodeIndex
			}{
				{"left", v.Left[i], !i.isLeaf(), i.left},
				{"right", v.Right[i], !i.isLeaf(), i.right},
				{"parent", v.Parent[i], i != v.Root, i.parent},
				{"sibling", v.Sibling[i], i != v.Root, i.sibling},
			} {
				if (f.want != nil) != f.has {
					t.Errorf("%d leaves: node %d: has %s: %v", v.Leaves, i, f.name, f.has)
				} else if f.has && f.get() != *f.want {
					t.Errorf("%d leaves: node %d: %s %d, want %d", v.Leaves, i, f.name, f.get(), *f.want)
				}
			}
		}
	}
	c.report(t, "tree-math", 10)
}

func TestVectors_Deserialization(t *testing.T) {
	type vector struct {
		Header Hex `json:"vlbytes_header"`
		Length int `json:"length"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "deserialization") {
		c["all"]++
		r := reader{b: v.Header}
		if got := r.length(); r.end() != nil || got != v.Length {
			t.Errorf("%x: length %d, %v; want %d", v.Header, got, r.err, v.Length)
		}
		equal(t, "length", appendLength(nil, v.Length), v.Header)
	}
	c.report(t, "deserialization", 14)
}

func TestVectors_CryptoBasics(t *testing.T) {
	type vector struct {
		Suite   CipherSuite `json:"cipher_suite"`
		RefHash struct {
			Label string
			Value Hex
			Out   Hex
		} `json:"ref_hash"`
		Expand struct {
			Secret  Hex
			Label   string
			Context Hex
			Length  int
			Out     Hex
		} `json:"expand_with_label"`
		Derive struct {
			Secret Hex
			Label  string
			Out    Hex
		} `json:"derive_secret"`
		DeriveTree struct {
			Secret     Hex
			Label      string
			Generation uint32
			Length     int
			Out        Hex
		} `json:"derive_tree_secret"`
		Sign struct {
			Priv, Pub, Content Hex
			Label              string
			Signature          Hex
		} `json:"sign_with_label"`
		Encrypt struct {
			Priv, Pub          Hex
			Label              string
			Context, Plaintext Hex
			KEMOutput          Hex `json:"kem_output"`
			Ciphertext         Hex
		} `json:"encrypt_with_label"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "crypto-basics") {
		s, ok := c.supported(v.Suite)
		if !ok {
			continue
		}
		equal(t, "ref_hash", refHash(v.RefHash.Label, v.RefHash.Value), v.RefHash.Out)
		equal(t, "expand", expand(secret(v.Expand.Secret), v.Expand.Label, v.Expand.Context, v.Expand.Length), v.Expand.Out)
		equal(t, "derive", derive(secret(v.Derive.Secret), v.Derive.Label), v.Derive.Out)
		d := v.DeriveTree
		equal(t, "derive tree", deriveTree(secret(d.Secret), d.Label, d.Generation, d.Length), d.Out)
		noError(t, verify(v.Sign.Pub, v.Sign.Label, v.Sign.Content, v.Sign.Signature))
		sig, err := sign(ed25519.NewKeyFromSeed(v.Sign.Priv), v.Sign.Label, v.Sign.Content)
		noError(t, err)
		noError(t, verify(v.Sign.Pub, v.Sign.Label, v.Sign.Content, sig))
		e := v.Encrypt
		got, err := s.decrypt(secret(e.Priv), e.Label, e.Context, hpkeCiphertext{e.KEMOutput, e.Ciphertext})
		noError(t, err)
		equal(t, "decrypt", got, e.Plaintext)
		ct, err := s.newSealer(e.Label, e.Context).encrypt(testRand(1), e.Pub, e.Plaintext)
		noError(t, err)
		got, err = s.decrypt(secret(e.Priv), e.Label, e.Context, ct)
		noError(t, err)
		equal(t, "decrypt own", got, e.Plaintext)
	}
	c.report(t, "crypto-basics", 2)
}

func TestVectors_KeySchedule(t *testing.T) {
	type vector struct {
		Suite   CipherSuite `json:"cipher_suite"`
		GroupID Hex         `json:"group_id"`
		Init    Hex         `json:"initial_init_secret"`
		Epochs  []struct {
			TreeHash   Hex `json:"tree_hash"`
			Commit     Hex `json:"commit_secret"`
			PSK        Hex `json:"psk_secret"`
			Transcript Hex `json:"confirmed_transcript_hash"`
			Context    Hex `json:"group_context"`
			Joiner     Hex `json:"joiner_secret"`
			Welcome    Hex `json:"welcome_secret"`
			Init       Hex `json:"init_secret"`
			SenderData Hex `json:"sender_data_secret"`
			Encryption Hex `json:"encryption_secret"`
			Exporter   Hex `json:"exporter_secret"`
			Auth       Hex `json:"epoch_authenticator"`
			External   Hex `json:"external_secret"`
			Confirm    Hex `json:"confirmation_key"`
			Membership Hex `json:"membership_key"`
			Resumption Hex `json:"resumption_psk"`
			ExtPub     Hex `json:"external_pub"`
			Export     struct {
				Label   string
				Context Hex
				Length  int
				Secret  Hex
			} `json:"exporter"`
		}
	}
	c := tally{}
	for _, v := range vectors[vector](t, "key-schedule") {
		s, ok := c.supported(v.Suite)
		if !ok {
			continue
		}
		init := secret(v.Init)
		for i, e := range v.Epochs {
			ctx := GroupContext{Suite: v.Suite, GroupID: v.GroupID, Epoch: uint64(i), TreeHash: e.TreeHash, ConfirmedTranscriptHash: e.Transcript}
			equal(t, "context", ctx.bytes(), e.Context)
			joiner := joinerSecret(init, secret(e.Commit), ctx.bytes())
			equal(t, "joiner", joiner, e.Joiner)
			equal(t, "welcome", welcomeSecret(joiner, secret(e.PSK)), e.Welcome)
			got, encryption := epochFromJoiner(joiner, secret(e.PSK), ctx.bytes())
			equal(t, "init", got.init, e.Init)
			equal(t, "sender data", got.senderData, e.SenderData)
			equal(t, "encryption", encryption, e.Encryption)
			equal(t, "exporter", got.exporter, e.Exporter)
			equal(t, "authenticator", got.authenticator, e.Auth)
			equal(t, "external", got.external, e.External)
			equal(t, "confirmation", got.confirmation, e.Confirm)
			equal(t, "membership", got.membership, e.Membership)
			equal(t, "resumption", got.resumption, e.Resumption)
			_, pub, err := s.keyPair(got.external)
			noError(t, err)
			equal(t, "external pub", pub, e.ExtPub)
			out, err := got.export(e.Export.Label, e.Export.Context, e.Export.Length)
			noError(t, err)
			equal(t, "export", out, e.Export.Secret)
			init = got.init
		}
	}
	c.report(t, "key-schedule", 2)
}

func TestVectors_PSKSecret(t *testing.T) {
	type vector struct {
		Suite CipherSuite `json:"cipher_suite"`
		PSKs  []struct {
			ID    Hex `json:"psk_id"`
			PSK   Hex `json:"psk"`
			Nonce Hex `json:"psk_nonce"`
		} `json:"psks"`
		Secret Hex `json:"psk_secret"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "psk_secret") {
		if _, ok := c.supported(v.Suite); !ok {
			continue
		}
		var ids []PSKID
		for _, p := range v.PSKs {
			ids = append(ids, PSKID{Type: PSKExternal, ID: p.ID, Nonce: p.Nonce})
		}
		got, err := pskSecret(ids, func(id PSKID) ([]byte, bool) {
			for _, p := range v.PSKs {
				if bytes.Equal(p.ID, id.ID) {
					return p.PSK, true
				}
			}
			return nil, false
		})
		noError(t, err)
		equal(t, "psk_secret", got, v.Secret)
	}
	c.report(t, "psk_secret", 22)
}

func TestVectors_SecretTree(t *testing.T) {
	type vector struct {
		Suite      CipherSuite `json:"cipher_suite"`
		SenderData struct {
			Secret     Hex `json:"sender_data_secret"`
			Ciphertext Hex
			Key, Nonce Hex
		} `json:"sender_data"`
		Encryption Hex `json:"encryption_secret"`
		Leaves     [][]struct {
			Generation       uint32
			HandshakeKey     Hex `json:"handshake_key"`
			HandshakeNonce   Hex `json:"handshake_nonce"`
			ApplicationKey   Hex `json:"application_key"`
			ApplicationNonce Hex `json:"application_nonce"`
		}
	}
	c := tally{}
	for _, v := range vectors[vector](t, "secret-tree") {
		s, ok := c.supported(v.Suite)
		if !ok {
			continue
		}
		key, nonce := s.senderDataKey(secret(v.SenderData.Secret), v.SenderData.Ciphertext)
		equal(t, "sender data key", key, v.SenderData.Key)
		equal(t, "sender data nonce", nonce, v.SenderData.Nonce)
		tree := newSecretTree(s, ceilPow2(len(v.Leaves)), bytes.Clone(v.Encryption))
		for leaf, list := range v.Leaves {
			for _, g := range list {
				for _, hs := range []bool{true, false} {
					wantKey, wantNonce := g.ApplicationKey, g.ApplicationNonce
					if hs {
						wantKey, wantNonce = g.HandshakeKey, g.HandshakeNonce
					}
					st, err := tree.open(ratchetID{LeafIndex(leaf), hs}, g.Generation)
					noError(t, err)
					equal(t, "key", st.key, wantKey)
					equal(t, "nonce", st.nonce, wantNonce)
					tree.apply(st)
					if _, err := tree.open(ratchetID{LeafIndex(leaf), hs}, g.Generation); !errors.Is(err, ErrConsumed) {
						t.Errorf("leaf %d generation %d: key given twice: %v", leaf, g.Generation, err)
					}
				}
			}
		}
	}
	c.report(t, "secret-tree", 6)
}

func TestVectors_TranscriptHashes(t *testing.T) {
	type vector struct {
		Suite     CipherSuite `json:"cipher_suite"`
		Key       Hex         `json:"confirmation_key"`
		Content   Hex         `json:"authenticated_content"`
		Before    Hex         `json:"interim_transcript_hash_before"`
		Confirmed Hex         `json:"confirmed_transcript_hash_after"`
		After     Hex         `json:"interim_transcript_hash_after"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "transcript-hashes") {
		if _, ok := c.supported(v.Suite); !ok {
			continue
		}
		r := reader{b: v.Content}
		a := &authContent{wire: WireFormat(r.u16()), content: r.framedContent()}
		r.auth(a)
		noError(t, r.end())
		equal(t, "round trip", a.bytes(), v.Content)
		if a.content.kind != ContentCommit {
			t.Error("not a commit")
		}
		confirmed := confirmedTranscript(v.Before, a)
		equal(t, "confirmed", confirmed, v.Confirmed)
		equal(t, "tag", mac(secret(v.Key), confirmed), a.confirmationTag)
		equal(t, "interim", interimTranscript(confirmed, a.confirmationTag), v.After)
	}
	c.report(t, "transcript-hashes", 2)
}

func TestVectors_PassiveClient(t *testing.T) {
	for _, f := range []struct {
		file string
		want int
	}{{"passive-client-welcome", 16}, {"passive-client-handling-commit", 26}} {
		c := tally{}
		steps := 0
		for i, v := range vectors[Scenario](t, f.file) {
			if _, ok := c.supported(v.CipherSuite); !ok {
				if err := v.Run(); !errors.Is(err, ErrUnsupported) {
					t.Errorf("%s %d: %v, want ErrUnsupported", f.file, i, err)
				}
				continue
			}
			if err := v.Run(); err != nil {
				t.Errorf("%s %d (suite %d): %v", f.file, i, v.CipherSuite, err)
			}
			steps += len(v.Epochs)
		}
		c.report(t, f.file, f.want)
		t.Logf("%s: %d commits", f.file, steps)
	}
}
