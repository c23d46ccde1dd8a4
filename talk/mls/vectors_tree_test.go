package mls

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"testing"
)

func TestVectors_Messages(t *testing.T) {
	// How each field of the vectors is decoded; a proposal lacks its type there.
	kinds := map[string]string{
		"mls_welcome": "message", "mls_group_info": "message", "mls_key_package": "message",
		"public_message_application": "message", "public_message_proposal": "message",
		"public_message_commit": "message", "private_message": "message",
		"ratchet_tree": "tree", "group_secrets": "secrets", "commit": "commit",
	}
	types := map[string]ProposalType{
		"add_proposal": ProposalAdd, "update_proposal": ProposalUpdate, "remove_proposal": ProposalRemove,
		"pre_shared_key_proposal": ProposalPSK, "re_init_proposal": ProposalReInit,
		"external_init_proposal": ProposalExternalInit, "group_context_extensions_proposal": ProposalExtensions,
	}
	table := decoders()
	c := tally{}
	fields := 0
	for i, v := range vectors[map[string]Hex](t, "messages") {
		c["all"]++
		for name, b := range v {
			fields++
			kind := kinds[name]
			if p := types[name]; p != 0 {
				kind, b = "proposal", append([]byte{0, byte(p)}, b...)
			}
			if table[kind] == nil {
				t.Fatalf("case %d: no decoder for %s", i, name)
			}
			if again, err := table[kind](b); err != nil || !bytes.Equal(again, b) {
				t.Errorf("case %d: %s: %v, or encodes to other bytes", i, name, err)
			}
		}
	}
	c.report(t, "messages", 300)
	if fields != 300*17 {
		t.Errorf("messages: %d fields, want %d", fields, 300*17)
	}
}

func TestVectors_MessageProtection(t *testing.T) {
	type vector struct {
		Suite           CipherSuite `json:"cipher_suite"`
		GroupID         Hex         `json:"group_id"`
		Epoch           uint64
		TreeHash        Hex `json:"tree_hash"`
		Transcript      Hex `json:"confirmed_transcript_hash"`
		Priv            Hex `json:"signature_priv"`
		Pub             Hex `json:"signature_pub"`
		Encryption      Hex `json:"encryption_secret"`
		SenderData      Hex `json:"sender_data_secret"`
		Membership      Hex `json:"membership_key"`
		Proposal        Hex
		ProposalPub     Hex `json:"proposal_pub"`
		ProposalPriv    Hex `json:"proposal_priv"`
		Commit          Hex
		CommitPub       Hex `json:"commit_pub"`
		CommitPriv      Hex `json:"commit_priv"`
		Application     Hex
		ApplicationPriv Hex `json:"application_priv"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "message-protection") {
		s, ok := c.supported(v.Suite)
		if !ok {
			continue
		}
		ctx := GroupContext{Suite: v.Suite, GroupID: v.GroupID, Epoch: v.Epoch, TreeHash: v.TreeHash, ConfirmedTranscriptHash: v.Transcript}
		known := func(LeafIndex) error { return nil }
		open := func(e *epoch, b []byte) *authContent {
			t.Helper()
			m, err := ParseMessage(b)
			noError(t, err)
			a, st, err := openPrivate(e.tree, e.secrets.senderData, m.private, known)
			noError(t, err)
			e.tree.apply(st)
			noError(t, a.verify(v.Pub, ctx.bytes()))
			return a
		}
		fresh := func() *epoch {
			return &epoch{context: ctx, contextRaw: ctx.bytes(),
				secrets: &epochSecrets{senderData: secret(v.SenderData), membership: secret(v.Membership)},
				tree:    newSecretTree(s, 2, bytes.Clone(v.Encryption))}
		}
		signer := ed25519.NewKeyFromSeed(v.Priv)
		var app writer
		app.vec(v.Application)
		for _, k := range []struct {
			kind            ContentType
			body, pub, priv []byte
		}{
			{ContentProposal, v.Proposal, v.ProposalPub, v.ProposalPriv},
			{ContentCommit, v.Commit, v.CommitPub, v.CommitPriv},
			{ContentApplication, app.b, nil, v.ApplicationPriv},
		} {
			equal(t, "private body", open(fresh(), k.priv).content.body, k.body)
			for _, wire := range []WireFormat{WirePublic, WirePrivate} {
				own := &authContent{wire: wire, content: framedContent{groupID: v.GroupID, epoch: v.Epoch,
					sender: Sender{Type: SenderMember, Leaf: 1}, kind: k.kind, body: k.body}}
				noError(t, own.sign(signer, ctx.bytes()))
				if k.kind == ContentCommit {
					own.confirmationTag = make([]byte, hashSize)
				}
				if wire == WirePrivate {
					e := fresh()
					b, st, err := e.protectPrivate(testRand(2), own, func(n int) int { return n + 7 })
					noError(t, err)
					_ = st
					equal(t, "own private body", open(fresh(), b).content.body, k.body)
					continue
				}
				b, err := protectPublic(own, secret(v.Membership), ctx.bytes())
				if k.kind == ContentApplication {
					if err == nil {
						t.Error("application data was sent in the open")
					}
					continue
				}
				noError(t, err)
				for _, b := range [][]byte{b, k.pub} {
					m, err := ParseMessage(b)
					noError(t, err)
					p := m.public
					noError(t, p.verify(v.Pub, ctx.bytes()))
					equal(t, "membership tag", p.membershipTag, p.membership(secret(v.Membership), ctx.bytes()))
					equal(t, "public body", p.content.body, k.body)
				}
			}
		}
	}
	c.report(t, "message-protection", 2)
}

func TestVectors_Welcome(t *testing.T) {
	type vector struct {
		Suite      CipherSuite `json:"cipher_suite"`
		InitPriv   Hex         `json:"init_priv"`
		SignerPub  Hex         `json:"signer_pub"`
		KeyPackage Hex         `json:"key_package"`
		Welcome    Hex
	}
	c := tally{}
	for _, v := range vectors[vector](t, "welcome") {
		s, ok := c.supported(v.Suite)
		if !ok {
			continue
		}
		km, err := ParseMessage(v.KeyPackage)
		noError(t, err)
		wm, err := ParseMessage(v.Welcome)
		noError(t, err)
		entry := wm.Welcome.entry(km.KeyPackage)
		if entry == nil {
			t.Fatal("no entry for the key package")
		}
		gs, err := openGroupSecrets(s, secret(v.InitPriv), wm.Welcome.groupInfo, entry)
		noError(t, err)
		psk := make(secret, hashSize)
		gi, err := openGroupInfo(s, welcomeSecret(gs.joiner, psk), wm.Welcome.groupInfo)
		noError(t, err)
		noError(t, verify(v.SignerPub, "GroupInfoTBS", gi.tbs, gi.signature))
		e := newEpoch(s, gi.Context, gs.joiner, psk, 2)
		equal(t, "confirmation tag", e.tag(), gi.confirmationTag)
	}
	c.report(t, "welcome", 2)
}

func TestVectors_TreeOperations(t *testing.T) {
	type vector struct {
		Suite      CipherSuite `json:"cipher_suite"`
		Before     Hex         `json:"tree_before"`
		Proposal   Hex
		Sender     LeafIndex `json:"proposal_sender"`
		HashBefore Hex       `json:"tree_hash_before"`
		After      Hex       `json:"tree_after"`
		HashAfter  Hex       `json:"tree_hash_after"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "tree-operations") {
		if _, ok := c.supported(v.Suite); !ok {
			continue
		}
		before, err := parseTree(v.Before)
		noError(t, err)
		equal(t, "hash before", before.rootHash(), v.HashBefore)
		r := reader{b: v.Proposal}
		p := r.proposal()
		noError(t, r.end())
		after := before.clone()
		switch p.Type {
		case ProposalAdd:
			_, err := after.add(p.Add.Leaf)
			noError(t, err)
		case ProposalUpdate:
			after.update(v.Sender, p.Update)
		case ProposalRemove:
			after.remove(p.Remove)
			after.truncate()
		}
		var w writer
		w.tree(after)
		equal(t, "tree after", w.b, v.After)
		equal(t, "hash after", after.rootHash(), v.HashAfter)
		equal(t, "hash of the original", before.rootHash(), v.HashBefore)
	}
	c.report(t, "tree-operations", 5)
}

func TestVectors_TreeValidation(t *testing.T) {
	type vector struct {
		Suite       CipherSuite `json:"cipher_suite"`
		Tree        Hex
		GroupID     Hex `json:"group_id"`
		Resolutions [][]nodeIndex
		Hashes      []Hex `json:"tree_hashes"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "tree-validation") {
		s, ok := c.supported(v.Suite)
		if !ok {
			continue
		}
		tree, err := parseTree(v.Tree)
		noError(t, err)
		for i := range v.Resolutions {
			x := nodeIndex(i)
			if got, want := fmt.Sprint(tree.resolution(x, nil)), fmt.Sprint(v.Resolutions[i]); got != want {
				t.Errorf("resolution of %d: %s, want %s", i, got, want)
			}
			if tree.empty(x) != (len(v.Resolutions[i]) == 0) {
				t.Errorf("node %d: empty is %v", i, tree.empty(x))
			}
			equal(t, "tree hash", tree.hash(x), v.Hashes[i])
		}
		noError(t, tree.check(s, v.GroupID, nil))
		noError(t, tree.checkCredentialTypes())
	}
	c.report(t, "tree-validation", 28)
}

func TestVectors_TreeKEM(t *testing.T) {
	type vector struct {
		Suite      CipherSuite `json:"cipher_suite"`
		GroupID    Hex         `json:"group_id"`
		Epoch      uint64
		Transcript Hex `json:"confirmed_transcript_hash"`
		Tree       Hex `json:"ratchet_tree"`
		Private    []struct {
			Index      LeafIndex
			Encryption Hex `json:"encryption_priv"`
			Signature  Hex `json:"signature_priv"`
			Secrets    []struct {
				Node   nodeIndex
				Secret Hex `json:"path_secret"`
			} `json:"path_secrets"`
		} `json:"leaves_private"`
		Paths []struct {
			Sender    LeafIndex
			Path      Hex    `json:"update_path"`
			Secrets   []*Hex `json:"path_secrets"`
			Commit    Hex    `json:"commit_secret"`
			HashAfter Hex    `json:"tree_hash_after"`
		} `json:"update_paths"`
	}
	c := tally{}
	for _, v := range vectors[vector](t, "treekem") {
		s, ok := c.supported(v.Suite)
		if !ok {
			continue
		}
		tree, err := parseTree(v.Tree)
		noError(t, err)
		priv := map[LeafIndex]map[nodeIndex]secret{}
		signers := map[LeafIndex]ed25519.PrivateKey{}
		for _, p := range v.Private {
			keys := map[nodeIndex]secret{p.Index.node(): secret(p.Encryption)}
			for _, ps := range p.Secrets {
				key, pub, err := s.nodeKey(secret(ps.Secret))
				noError(t, err)
				equal(t, "node key", pub, tree.key(ps.Node))
				keys[ps.Node] = key
			}
			priv[p.Index], signers[p.Index] = keys, ed25519.NewKeyFromSeed(p.Signature)
		}
		context := func(t *ratchetTree) []byte {
			ctx := GroupContext{Suite: v.Suite, GroupID: v.GroupID, Epoch: v.Epoch, TreeHash: t.rootHash(), ConfirmedTranscriptHash: v.Transcript}
			return ctx.bytes()
		}
		// process lets everybody but the sender open a path; want may be nil.
		process := func(from LeafIndex, path *updatePath, want []*Hex, commit secret) *ratchetTree {
			after := tree.clone()
			nodes, copath, ph, err := after.setPath(from, path.keys())
			noError(t, err)
			equal(t, "parent hash", path.leaf.ParentHash, ph)
			noError(t, path.leaf.verify(v.GroupID, from))
			after.setLeaf(from, path.leaf)
			for l, keys := range priv {
				if l == from {
					continue
				}
				got, err := after.openPath(s, l, nodes, copath, path.nodes, keys, context(after), nil)
				noError(t, err)
				equal(t, "commit secret", got.commit, commit)
				if want == nil {
					continue
				}
				for _, x := range nodes {
					if x.covers(l) {
						key, _, err := s.nodeKey(secret(*want[l]))
						noError(t, err)
						equal(t, "path secret", got.priv[x], key)
						break
					}
				}
			}
			return after
		}
		for _, u := range v.Paths {
			r := reader{b: u.Path}
			path := r.updatePath()
			noError(t, r.end())
			after := process(u.Sender, path, u.Secrets, secret(u.Commit))
			equal(t, "tree hash after", after.rootHash(), u.HashAfter)

			own := tree.clone()
			o, err := own.newPath(testRand(3), s, u.Sender)
			noError(t, err)
			_, pub, err := s.freshKeyPair(testRand(4))
			noError(t, err)
			leaf := path.leaf.template().leaf(SourceCommit, pub, path.leaf.SignatureKey)
			leaf.ParentHash = o.parentHash
			noError(t, leaf.sign(signers[u.Sender], v.GroupID, u.Sender))
			own.setLeaf(u.Sender, leaf)
			nodes, err := o.encrypt(testRand(5), s, own, context(own), nil)
			noError(t, err)
			process(u.Sender, &updatePath{leaf, nodes}, nil, o.commitSecret())
		}
	}
	c.report(t, "treekem", 22)
}
