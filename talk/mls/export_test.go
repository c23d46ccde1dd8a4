package mls

import (
	"bytes"
	"fmt"
)

// CheckGroup asserts what must hold of a group after every step.
func CheckGroup(g *Group) error {
	if g.removed {
		return nil
	}
	for x, priv := range g.priv {
		pub, err := g.s.publicOf(priv)
		if err != nil {
			return err
		}
		if !x.covers(g.self) || !bytes.Equal(pub, g.tree.key(x)) {
			return fmt.Errorf("private key of node %d does not belong there", x)
		}
	}
	for _, x := range directPath(g.self, g.tree.size()) {
		p := g.tree.parent(x)
		if p == nil || g.priv[x] != nil {
			continue
		}
		unmerged := false
		for _, l := range p.unmerged {
			unmerged = unmerged || l == g.self
		}
		if !unmerged {
			return fmt.Errorf("private key of node %d is missing", x)
		}
	}
	if g.priv[g.self.node()] == nil {
		return fmt.Errorf("private key of the own leaf is missing")
	}
	var w writer
	w.tree(g.tree)
	again, err := parseTree(w.b)
	if err != nil {
		return err
	}
	if !bytes.Equal(again.rootHash(), g.tree.rootHash()) || !bytes.Equal(again.rootHash(), g.cur.context.TreeHash) {
		return fmt.Errorf("cached tree hash is stale")
	}
	for i, l := range g.tree.leaves {
		if l == nil && LeafIndex(i) < g.tree.blank {
			return fmt.Errorf("leaf %d is blank, the hint says all before %d are taken", i, g.tree.blank)
		}
	}
	return again.check(g.s, g.cur.context.GroupID, g.cur.context.Extensions)
}

// Secrets lists every live secret of a group, for tests that search for them.
func Secrets(g *Group) [][]byte {
	var out [][]byte
	for _, s := range g.cur.secrets.all() {
		out = append(out, *s)
	}
	for _, k := range g.priv {
		out = append(out, k)
	}
	trees := []*secretTree{g.cur.tree}
	for _, p := range g.past {
		trees = append(trees, p.tree)
		out = append(out, p.senderData)
	}
	for _, t := range trees {
		for _, s := range t.nodes {
			out = append(out, s)
		}
		for _, r := range t.ratchets {
			out = append(out, r.secret)
			for _, k := range r.skipped {
				out = append(out, k.key)
			}
		}
	}
	for _, r := range g.resumption {
		out = append(out, r.secret)
	}
	for _, q := range g.proposals {
		if q.leafKey != nil {
			out = append(out, q.leafKey)
		}
	}
	return out
}
