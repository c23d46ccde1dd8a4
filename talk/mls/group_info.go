package mls

import (
	"bytes"
	"crypto"
	"fmt"
)

// GroupInfo describes a group to those who join it (RFC 9420 §12.4.3). Treat
// it as read-only: it keeps its encoding.
type GroupInfo struct {
	Context    GroupContext
	Extensions []Extension
	Signer     LeafIndex

	confirmationTag []byte
	signature       []byte
	tbs, raw        []byte
}

func (r *reader) groupInfo() *GroupInfo {
	from := r.b
	g := &GroupInfo{Context: r.groupContext(), Extensions: r.extensions(MaxMessage)}
	g.confirmationTag = r.vec(maxDigest)
	g.Signer = LeafIndex(r.u32())
	g.tbs = r.consumed(from)
	g.signature = r.vec(maxSignature)
	g.raw = r.consumed(from)
	return g
}

// makeGroupInfo signs a description of an epoch.
func makeGroupInfo(e *epoch, t *ratchetTree, self LeafIndex, signer crypto.Signer, tree bool, extensions []Extension) (*GroupInfo, error) {
	if tree {
		var w writer
		w.tree(t)
		extensions = append(extensions[:len(extensions):len(extensions)], Extension{ExtRatchetTree, w.b})
	}
	var w writer
	e.context.encode(&w)
	w.extensions(extensions)
	w.vec(e.confirmationTag)
	w.u32(uint32(self))
	sig, err := sign(signer, "GroupInfoTBS", w.b)
	if err != nil {
		return nil, err
	}
	w.vec(sig)
	if len(w.b) > MaxMessage/2 {
		return nil, fmt.Errorf("make group info: %d bytes, at most %d allowed: %w", len(w.b), MaxMessage/2, ErrInvalid)
	}
	r := reader{b: w.b}
	gi := r.groupInfo()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("make group info: %w", err)
	}
	return gi, nil
}

// verify checks a GroupInfo and its tree as RFC 9420 §12.4.3.1 tells joiners
// to. outside is the tree if the GroupInfo does not carry one.
func (g *GroupInfo) verify(s suite, outside []byte) (*ratchetTree, error) {
	if g.Context.Suite != s.id {
		return nil, fmt.Errorf("check group info: group of %v: %w", g.Context.Suite, ErrInvalid)
	}
	if len(g.confirmationTag) != hashSize {
		// A joiner by external commit cannot check the tag, but builds on it: with a
		// wrong one no member would accept what it sends.
		return nil, fmt.Errorf("check group info: confirmation tag of %d bytes: %w", len(g.confirmationTag), ErrInvalid)
	}
	raw, inside := FindExtension(g.Extensions, ExtRatchetTree)
	if !inside {
		raw = bytes.Clone(outside)
	}
	if raw == nil {
		return nil, fmt.Errorf("check group info: no ratchet tree inside or given: %w", ErrInvalid)
	}
	tree, err := parseTree(raw)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tree.rootHash(), g.Context.TreeHash) {
		return nil, fmt.Errorf("check group info: tree of another epoch: %w", ErrInvalid)
	}
	signer := tree.leaf(g.Signer)
	if signer == nil {
		return nil, fmt.Errorf("check group info: signed by leaf %d, who is nobody: %w", g.Signer, ErrInvalid)
	}
	if err := verify(signer.SignatureKey, "GroupInfoTBS", g.tbs, g.signature); err != nil {
		return nil, err
	}
	if err := tree.check(s, g.Context.GroupID, g.Context.Extensions); err != nil {
		return nil, err
	}
	return tree, tree.checkCredentialTypes()
}

// GroupInfoOptions says what a GroupInfo carries.
type GroupInfoOptions struct {
	TreeOutside bool        // leave the tree out; Group.RatchetTree has it
	External    bool        // let whoever holds the GroupInfo join by external commit
	Extensions  []Extension // further ones
}

// GroupInfo describes the current epoch, as an encoded message. With External
// it is an open door: give it to those who may come in, encrypted.
func (g *Group) GroupInfo(o GroupInfoOptions) ([]byte, error) {
	if err := g.active(); err != nil {
		return nil, fmt.Errorf("make group info: %w", err)
	}
	signer, err := g.signer()
	if err != nil {
		return nil, fmt.Errorf("make group info: %w", err)
	}
	extensions := o.Extensions
	if o.External {
		_, pub, err := g.s.keyPair(g.cur.secrets.external)
		if err != nil {
			return nil, fmt.Errorf("make group info: %w", err)
		}
		var w writer
		w.vec(pub)
		extensions = append(extensions[:len(extensions):len(extensions)], Extension{ExtExternalPub, w.b})
	}
	gi, err := makeGroupInfo(g.cur, g.tree, g.self, signer, !o.TreeOutside, extensions)
	if err != nil {
		return nil, err
	}
	return frame(WireGroupInfo, gi.raw), nil
}

// externalPub is the key that an external commit encapsulates to.
func (g *GroupInfo) externalPub() ([]byte, error) {
	data, ok := FindExtension(g.Extensions, ExtExternalPub)
	if !ok {
		return nil, fmt.Errorf("check group info: not open to external commits: %w", ErrInvalid)
	}
	r := reader{b: data}
	pub := r.vec(maxKey)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode external_pub: %w", err)
	}
	return pub, nil
}
