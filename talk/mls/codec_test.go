package mls

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// rebuild forgets a decoded leaf's encoding and makes it again from the fields.
func (l *LeafNode) rebuild() {
	var w writer
	l.encodeTBS(&w)
	w.vec(l.Signature)
	l.raw = w.b
}

func (k *KeyPackage) rebuild() {
	k.Leaf.rebuild()
	var w writer
	k.encodeTBS(&w)
	w.vec(k.Signature)
	k.raw = w.b
}

func (p *Proposal) rebuild() {
	if p.Add != nil {
		p.Add.rebuild()
	}
	if p.Update != nil {
		p.Update.rebuild()
	}
	p.raw = nil
}

func (c *commit) rebuild() {
	for _, p := range c.proposals {
		if p.proposal != nil {
			p.proposal.rebuild()
		}
	}
	if c.path != nil {
		c.path.leaf.rebuild()
	}
}

func (c *framedContent) rebuild() {
	var w writer
	switch c.kind {
	case ContentApplication:
		w.vec(c.application)
	case ContentProposal:
		c.proposal.rebuild()
		c.proposal.encode(&w)
	case ContentCommit:
		c.commit.rebuild()
		c.commit.encode(&w)
	}
	c.body = w.b
}

func (m *Message) rebuild() []byte {
	var w writer
	switch m.Format {
	case WirePublic:
		m.public.content.rebuild()
		return m.public.bytes()
	case WirePrivate:
		return m.private.bytes()
	case WireWelcome:
		m.Welcome.encode(&w)
	case WireGroupInfo:
		m.GroupInfo.Context.encode(&w)
		w.extensions(m.GroupInfo.Extensions)
		w.vec(m.GroupInfo.confirmationTag)
		w.u32(uint32(m.GroupInfo.Signer))
		w.vec(m.GroupInfo.signature)
	case WireKeyPackage:
		m.KeyPackage.rebuild()
		return m.KeyPackage.Message()
	}
	return frame(m.Format, w.b)
}

// decoders lists every decoder with its encoder: each takes apart an encoding
// and puts it together again from the parts alone.
func decoders() map[string]func([]byte) ([]byte, error) {
	read := func(f func(*reader, *writer)) func([]byte) ([]byte, error) {
		return func(b []byte) ([]byte, error) {
			r, w := reader{b: b}, writer{}
			f(&r, &w)
			return w.b, r.end()
		}
	}
	return map[string]func([]byte) ([]byte, error){
		"message": func(b []byte) ([]byte, error) {
			m, err := ParseMessage(b)
			if err != nil {
				return nil, err
			}
			return m.rebuild(), nil
		},
		"tree": func(b []byte) ([]byte, error) {
			t, err := parseTree(b)
			if err != nil {
				return nil, err
			}
			for _, l := range t.leaves {
				if l != nil {
					l.rebuild()
				}
			}
			var w writer
			w.tree(t)
			return w.b, nil
		},
		"proposal": read(func(r *reader, w *writer) {
			if p := r.proposal(); r.err == nil {
				p.rebuild()
				p.encode(w)
			}
		}),
		"commit": read(func(r *reader, w *writer) {
			if c := r.commit(); r.err == nil {
				c.rebuild()
				c.encode(w)
			}
		}),
		"secrets": read(func(r *reader, w *writer) { s := r.groupSecrets(); s.encode(w) }),
		"key package secrets": func(b []byte) ([]byte, error) {
			var k KeyPackageSecrets
			if err := k.UnmarshalBinary(b); err != nil {
				return nil, err
			}
			return k.MarshalBinary()
		},
		"required capabilities": func(b []byte) ([]byte, error) {
			c, err := requiredCapabilities([]Extension{{ExtRequiredCapabilities, b}})
			return c.Extension().Data, err
		},
		"external senders": func(b []byte) ([]byte, error) {
			s, err := externalSenders([]Extension{{ExtExternalSenders, b}})
			return ExternalSendersExtension(s).Data, err
		},
		"parent":  read(func(r *reader, w *writer) { r.parentNode().encode(w) }),
		"ratchet": read(func(r *reader, w *writer) { r.ratchet().encode(w) }),
		"queued": read(func(r *reader, w *writer) {
			if q := r.queued(); r.err == nil {
				q.rebuild()
				q.encode(w)
			}
		}),
		"head": read(func(r *reader, w *writer) {
			if g := r.head(); r.err == nil {
				g.encodeHead(w)
			}
		}),
		"past": read(func(r *reader, w *writer) {
			if p := r.pastEpoch(suite{}, 0); r.err == nil {
				for _, l := range p.undo {
					if l != nil {
						l.rebuild()
					}
				}
				p.encode(w)
			}
		}),
	}
}

func TestCodec_RefusesOtherEncodingsOfTheSame(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"one byte length in two", []byte{0x40, 0x01, 0}},
		{"one byte length in four", []byte{0x80, 0, 0, 1, 0}},
		{"two byte length in four", []byte{0x80, 0, 0x3f, 0xff}},
		{"eight byte length", []byte{0xc0, 0, 0, 0, 0, 0, 0, 1, 0}},
		{"length past the end", []byte{2, 0}},
		{"length past every bound", []byte{0xbf, 0xff, 0xff, 0xff}},
	} {
		r := reader{b: c.b}
		r.vec(MaxMessage)
		if err := r.end(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for n, want := range map[int]int{0: 1, 63: 1, 64: 2, 16383: 2, 16384: 4} {
		var w writer
		w.vec(make([]byte, n))
		if len(w.b) != n+want {
			t.Errorf("vector of %d bytes takes %d", n, len(w.b))
		}
		var v writer
		v.nested(func() { v.raw(make([]byte, n)) })
		if !bytes.Equal(v.b, w.b) {
			t.Errorf("nested vector of %d bytes differs", n)
		}
		r := reader{b: w.b}
		if got := r.vec(n); len(got) != n || r.end() != nil {
			t.Errorf("vector of %d bytes reads back as %d, %v", n, len(got), r.err)
		}
	}
	r := reader{b: []byte{2}}
	if r.optional(); r.err == nil {
		t.Error("presence byte 2 was accepted")
	}
}

func FuzzDecoders(f *testing.F) {
	table := decoders()
	names := []string{"message", "tree", "proposal", "commit", "secrets", "key package secrets", "required capabilities",
		"external senders", "parent", "ratchet", "queued", "head", "past"}
	if len(names) != len(table) {
		f.Fatal("a decoder is missing here")
	}
	for i, name := range names {
		for _, b := range seeds(f, name) {
			f.Add(byte(i), b)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		name := names[int(which)%len(names)]
		again, err := table[name](b)
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("%s: decodes, and encodes to other bytes:\n%x\n%x", name, b, again)
		}
	})
}

// seeds gives valid encodings for a decoder: from the vectors where they have
// some, and from a stored group.
func seeds(f testing.TB, name string) (out [][]byte) {
	take := func(keys ...string) {
		for i, v := range vectors[map[string]Hex](f, "messages") {
			for _, k := range keys {
				if i < 3 {
					out = append(out, v[k])
				}
			}
		}
	}
	switch name {
	case "message":
		take("mls_welcome", "mls_group_info", "mls_key_package", "public_message_application", "public_message_proposal", "public_message_commit", "private_message")
	case "tree":
		take("ratchet_tree")
	case "commit":
		take("commit")
	case "secrets":
		take("group_secrets")
	case "proposal":
		for i, k := range []string{"add_proposal", "update_proposal", "remove_proposal", "pre_shared_key_proposal",
			"re_init_proposal", "external_init_proposal", "group_context_extensions_proposal"} {
			n := len(out)
			take(k)
			for j := range out[n:] {
				out[n+j] = append([]byte{0, byte(i + 1)}, out[n+j]...)
			}
		}
	case "required capabilities":
		out = append(out, RequiredCapabilities{Extensions: []ExtensionType{9}, Proposals: []ProposalType{8}}.Extension().Data)
	case "external senders":
		out = append(out, ExternalSendersExtension([]ExternalSender{{make([]byte, 32), BasicCredential([]byte("x"))}}).Data)
	case "key package secrets":
		b, _ := NewKeyPackageSecrets(make([]byte, 32), make([]byte, 32)).MarshalBinary()
		out = append(out, b)
	default:
		kinds := map[string]recordKind{"parent": kindParent, "ratchet": kindApplication, "queued": kindProposal, "head": kindHead, "past": kindPast}
		for _, r := range storedGroup(f) {
			if r.Key[0] == byte(kinds[name]) {
				out = append(out, r.Value)
			}
		}
	}
	return out
}

func TestCodec_SeedsRoundTrip(t *testing.T) {
	for name, decode := range decoders() {
		list := seeds(t, name)
		if len(list) == 0 {
			t.Errorf("%s: no seed", name)
		}
		for i, b := range list {
			if again, err := decode(b); err != nil || !bytes.Equal(again, b) {
				t.Errorf("%s: seed %d: %v, or other bytes", name, i, err)
			}
			if len(b) > 0 {
				if _, err := decode(append(bytes.Clone(b), 0)); err == nil && name != "parent" {
					t.Errorf("%s: seed %d: a byte too many was accepted", name, i)
				}
			}
		}
	}
}

func FuzzLoad(f *testing.F) {
	records := storedGroup(f)
	for i := range records {
		f.Add(i, records[i].Value)
	}
	policy := Policy{Check: func(Candidate) error { return nil }}
	f.Fuzz(func(t *testing.T, i int, b []byte) {
		list := append([]Record(nil), records...)
		list[uint(i)%uint(len(list))].Value = b
		g, err := Load(list, policy)
		if err != nil {
			return
		}
		g.Snapshot()
		var w writer
		w.vec([]byte("x"))
		g.Export("x", nil, 32)
	})
}

func FuzzLoadStaged(f *testing.F) {
	g, staged := stagedGroup(f)
	b, err := staged.MarshalBinary()
	noError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := g.LoadStaged(b)
		if err != nil {
			return
		}
		for _, m := range slices.Concat(s.Added(), s.Removed(), s.Updated()) {
			if m.Leaf == nil {
				t.Errorf("nobody is at leaf %d", m.Index)
			}
		}
	})
}

// TestLoadStaged_RefusesLeavesWhereNobodyIs: such a commit would show its reader
// members without a leaf.
func TestLoadStaged_RefusesLeavesWhereNobodyIs(t *testing.T) {
	for name, damage := range map[string]func(*Staged){
		"added": func(s *Staged) { s.added = append(s.added, 99) }, "removed": func(s *Staged) { s.removed = append(s.removed, 99) },
		"updated": func(s *Staged) { s.updated = append(s.updated, 99) }, "committer": func(s *Staged) { s.committer.Leaf = 99 },
	} {
		g, s := stagedGroup(t)
		damage(s)
		b, err := s.MarshalBinary()
		noError(t, err)
		if s, err := g.LoadStaged(b); !errors.Is(err, ErrMalformed) || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
