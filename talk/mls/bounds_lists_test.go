package mls

import (
	"errors"
	"slices"
	"testing"
)

func TestCodec_BoundsOnLists(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(*writer)
		read  func(*reader)
	}{
		{"identity", func(w *writer) { BasicCredential(make([]byte, maxIdentity+1)).encode(w) }, func(r *reader) { r.credential() }},
		{"certificates", func(w *writer) {
			Credential{Type: CredentialX509, Certificates: make([][]byte, maxList+1)}.encode(w)
		}, func(r *reader) { r.credential() }},
		{"capabilities", func(w *writer) { writeList(w, make([]uint16, maxList+1)) }, func(r *reader) { readList[uint16](r) }},
		{"odd capabilities", func(w *writer) { w.vec(make([]byte, 3)) }, func(r *reader) { readList[uint16](r) }},
		{"extension", func(w *writer) { w.extensions([]Extension{{9, make([]byte, maxExtension+1)}}) }, func(r *reader) { r.extensions(maxExtension) }},
		{"extension twice", func(w *writer) { w.extensions([]Extension{{9, nil}, {9, nil}}) }, func(r *reader) { r.extensions(maxExtension) }},
		{"group id", func(w *writer) { (&GroupContext{GroupID: make([]byte, MaxGroupID+1)}).encode(w) }, func(r *reader) { r.groupContext() }},
		{"path nodes", func(w *writer) {
			l := testGroup(t, X25519AES128, 1, anyPolicy())[0].tree.leaf(0)
			(&updatePath{l, make([]pathNode, maxPathNodes+1)}).encode(w)
		}, func(r *reader) { r.updatePath() }},
		{"pre-shared keys", func(w *writer) {
			(&groupSecrets{psks: slices.Repeat([]PSKID{{Type: PSKExternal}}, maxPSKs+1)}).encode(w)
		}, func(r *reader) { r.groupSecrets() }},
		{"unmerged leaves that descend", func(w *writer) { (&parentNode{unmerged: []LeafIndex{2, 1}}).encode(w) }, func(r *reader) { r.parentNode() }},
		{"unmerged leaves that repeat", func(w *writer) { (&parentNode{unmerged: []LeafIndex{2, 2}}).encode(w) }, func(r *reader) { r.parentNode() }},
		{"proposal of type 0", func(w *writer) { (&Proposal{}).encode(w) }, func(r *reader) { r.proposal() }},
	} {
		var w writer
		c.write(&w)
		r := reader{b: w.b}
		if c.read(&r); !errors.Is(r.end(), ErrMalformed) {
			t.Errorf("%s: %v", c.name, r.err)
		}
	}
	for name, b := range map[string][]byte{
		"no leaf": {0}, "blank leaf": {1, 0}, "blank at the end": {3, 0, 0, 0}, "parent at a leaf's place": {4, 1, 2, 0, 0},
	} {
		if _, err := parseTree(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("tree with %s: %v", name, err)
		}
	}
}
