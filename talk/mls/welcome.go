package mls

import (
	"bytes"
	"crypto"
	"fmt"
)

// Welcome lets new members in (RFC 9420 §12.4.3.1).
type Welcome struct {
	Suite CipherSuite

	secrets   []encryptedSecrets
	groupInfo []byte // encrypted
}

// encryptedSecrets is EncryptedGroupSecrets.
type encryptedSecrets struct {
	newMember []byte // KeyPackageRef
	secrets   hpkeCiphertext
}

// groupSecrets is GroupSecrets.
type groupSecrets struct {
	joiner secret
	path   secret // nil if the commit had no path
	psks   []PSKID
}

func (s *groupSecrets) encode(w *writer) {
	w.vec(s.joiner)
	if s.path == nil {
		w.u8(0)
	} else {
		w.u8(1)
		w.vec(s.path)
	}
	w.nested(func() {
		for i := range s.psks {
			s.psks[i].encode(w)
		}
	})
}

func (r *reader) groupSecrets() (s groupSecrets) {
	s.joiner = r.vec(maxSecret)
	if r.optional() {
		s.path = r.vec(maxSecret)
	}
	r.list(maxPSKs*4*maxPSKID, maxPSKs, func(r *reader) { s.psks = append(s.psks, r.pskID()) })
	return s
}

func (wl *Welcome) encode(w *writer) {
	w.u16(uint16(wl.Suite))
	w.nested(func() {
		for i := range wl.secrets {
			w.vec(wl.secrets[i].newMember)
			wl.secrets[i].secrets.encode(w)
		}
	})
	w.vec(wl.groupInfo)
}

func (r *reader) welcome() *Welcome {
	w := &Welcome{Suite: CipherSuite(r.u16())}
	r.list(MaxMessage, MaxMembers, func(r *reader) {
		w.secrets = append(w.secrets, encryptedSecrets{r.vec(maxDigest), r.hpkeCiphertext(maxPSKs * 4 * maxPSKID)})
	})
	w.groupInfo = r.vec(MaxMessage)
	return w
}

// For reports whether the Welcome has an entry for a key package.
func (wl *Welcome) For(k *KeyPackage) bool { return wl.entry(k) != nil }

func (wl *Welcome) entry(k *KeyPackage) *encryptedSecrets {
	ref := k.Ref()
	for i := range wl.secrets {
		if bytes.Equal(wl.secrets[i].newMember, ref) {
			return &wl.secrets[i]
		}
	}
	return nil
}

// welcome makes the Welcome for those whom the commit adds.
func (b *builder) welcome(signer crypto.Signer, tree bool, extensions []Extension) ([]byte, error) {
	gi, err := makeGroupInfo(b.next, b.change.tree, b.self, signer, tree, extensions)
	if err != nil {
		return nil, err
	}
	key := welcomeSecret(b.joiner, b.psk)
	wl := Welcome{Suite: b.s.id}
	wl.groupInfo, err = b.s.sealAEAD(expand(key, "key", nil, b.s.keySize), expand(key, "nonce", nil, nonceSize), nil, gi.raw)
	if err != nil {
		return nil, err
	}
	list := make([]sealing, len(b.packages))
	for i, k := range b.packages {
		gs := groupSecrets{joiner: b.joiner, psks: b.psks}
		if b.own != nil {
			gs.path = b.own.secretFor(b.added[i])
		}
		var w writer
		gs.encode(&w)
		list[i] = sealing{k.InitKey, w.b}
	}
	all, err := b.s.newSealer("Welcome", wl.groupInfo).encryptAll(b.rand, list)
	for i, k := range b.packages {
		clear(list[i].plaintext)
		if err == nil {
			wl.secrets = append(wl.secrets, encryptedSecrets{k.Ref(), all[i]})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("welcome members: %w", err)
	}
	var w writer
	wl.encode(&w)
	return frame(WireWelcome, w.b), nil
}

// secretFor is the path secret of the lowest node above both the committer and
// a new leaf.
func (o *ownPath) secretFor(l LeafIndex) secret {
	for i, x := range o.copath {
		if x.covers(l) {
			return o.secrets[i]
		}
	}
	panic("mls: a leaf is below no node of the copath")
}

// JoinOptions says how to join.
type JoinOptions struct {
	Signer crypto.Signer // of the key package
	Policy Policy
	PSKs   PSKStore
	Tree   []byte // the ratchet tree, if the Welcome does not carry it
	// Parent is the group that this one was branched from or reinitialises. A
	// Welcome that claims such descent is refused without it.
	Parent *Group
}

// Join enters a group with a Welcome for the key package. The GroupInfo tells
// who sent it and carries the sender's extensions. Refuse a group whose id is
// that of one you are in; delete the secrets once the group is stored.
func Join(w *Welcome, k *KeyPackage, secrets *KeyPackageSecrets, o JoinOptions) (*Group, *GroupInfo, error) {
	g, gi, err := join(w, k, secrets, o)
	if err != nil {
		return nil, nil, fmt.Errorf("join: %w", err)
	}
	return g, gi, nil
}

func join(wl *Welcome, k *KeyPackage, secrets *KeyPackageSecrets, o JoinOptions) (*Group, *GroupInfo, error) {
	if err := o.Policy.valid(); err != nil {
		return nil, nil, err
	}
	s, err := k.Suite.lookup()
	if err != nil {
		return nil, nil, err
	}
	entry := wl.entry(k)
	if entry == nil || wl.Suite != k.Suite {
		return nil, nil, fmt.Errorf("find entry in Welcome: %w", ErrNotMember)
	}
	if err := k.matches(s, secrets); err != nil {
		return nil, nil, err
	}
	gs, err := openGroupSecrets(s, secrets.init, wl.groupInfo, entry)
	if err != nil {
		return nil, nil, err
	}
	psk, err := pskSecret(gs.psks, o.findPSK())
	if err != nil {
		return nil, nil, err
	}
	gi, err := openGroupInfo(s, welcomeSecret(gs.joiner, psk), wl.groupInfo)
	if err != nil {
		return nil, nil, err
	}
	tree, err := gi.verify(s, o.Tree)
	if err != nil {
		return nil, nil, err
	}
	if err := o.checkDescent(gi, gs.psks, tree); err != nil {
		return nil, nil, err
	}
	cur := newEpoch(s, gi.Context, gs.joiner, psk, tree.size())
	if !equalMAC(cur.tag(), gi.confirmationTag) {
		return nil, nil, fmt.Errorf("verify confirmation tag: %w", ErrUnauthentic)
	}
	cur.confirm(gi.confirmationTag)
	g := &Group{s: s, policy: o.Policy, signers: []crypto.Signer{o.Signer}, tree: tree, cur: cur}
	if err := g.takePlace(k, secrets, gs.path, gi.Signer); err != nil {
		return nil, nil, err
	}
	if err := g.judgeAll(); err != nil {
		return nil, nil, err
	}
	g.markAll()
	return g, gi, nil
}

func openGroupSecrets(s suite, init secret, groupInfo []byte, e *encryptedSecrets) (gs groupSecrets, err error) {
	plain, err := s.decrypt(init, "Welcome", groupInfo, e.secrets)
	if err != nil {
		return gs, err
	}
	r := reader{b: plain}
	gs = r.groupSecrets()
	if err := r.end(); err != nil {
		return gs, fmt.Errorf("decode group secrets: %w", err)
	}
	for i, id := range gs.psks {
		for _, other := range gs.psks[:i] {
			if id.same(other) {
				return gs, fmt.Errorf("check group secrets: one pre-shared key twice: %w", ErrInvalid)
			}
		}
	}
	return gs, nil
}

func openGroupInfo(s suite, key secret, ciphertext []byte) (*GroupInfo, error) {
	plain, err := s.openAEAD(expand(key, "key", nil, s.keySize), expand(key, "nonce", nil, nonceSize), nil, ciphertext)
	if err != nil {
		return nil, fmt.Errorf("open group info: %w", err)
	}
	r := reader{b: plain}
	gi := r.groupInfo()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode group info: %w", err)
	}
	return gi, nil
}

// takePlace finds the own leaf and derives the keys above it.
func (g *Group) takePlace(k *KeyPackage, secrets *KeyPackageSecrets, path secret, from LeafIndex) error {
	found := false
	for i, l := range g.tree.leaves {
		if l != nil && bytes.Equal(l.raw, k.Leaf.raw) {
			g.self, found = LeafIndex(i), true
		}
	}
	if !found {
		return fmt.Errorf("find own leaf in tree: %w", ErrNotMember)
	}
	if _, err := g.signer(); err != nil {
		return err
	}
	g.priv = map[nodeIndex]secret{g.self.node(): bytes.Clone(secrets.leaf)}
	if path == nil {
		return nil
	}
	var above []nodeIndex
	for _, x := range directPath(g.self, g.tree.size()) {
		if x.covers(from) && g.tree.parent(x) != nil {
			above = append(above, x)
		}
	}
	got, err := g.tree.climb(g.s, path, above)
	if err != nil {
		return err
	}
	for x, key := range got.priv {
		g.priv[x] = key
	}
	return nil
}

// judgeAll asks the application about every member, this one included.
func (g *Group) judgeAll() error {
	v := g.view()
	candidates, err := v.checkExtensions(g.cur.context.Extensions)
	if err != nil {
		return err
	}
	for _, l := range g.tree.leaves {
		if l != nil {
			candidates = append(candidates, v.candidate(l, nil))
		}
	}
	return g.policy.judge(candidates)
}
