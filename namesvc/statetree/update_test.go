package statetree_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc/statetree"
)

func TestUpdate_AgreesWithTheDefinition(t *testing.T) {
	for seed := range uint64(12) {
		r := newRand(seed)
		newKey := crowded
		if seed%2 == 1 {
			newKey = randomKeyOf(300)
		}
		tree, m := statetree.NewMem(), model{}
		for range 30 {
			batch := randomBatch(r, r.IntN(40), newKey)
			if _, err := tree.Update(batch); err != nil {
				t.Fatal(err)
			}
			m.apply(batch)
			checkTree(t, tree, m)
		}
	}
}

func TestUpdate_GroupingAndOrderDoNotChangeTheRoot(t *testing.T) {
	r := newRand(7)
	var all []statetree.Change
	for i := range 400 {
		all = append(all, statetree.Change{Key: keyOf(fmt.Sprint(i)), Value: randomBytes(r, 20)})
	}
	once := statetree.NewMem()
	mustUpdate(t, once, sorted(slices.Clone(all)))
	for range 5 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		tree := statetree.NewMem()
		for rest := all; len(rest) > 0; {
			n := min(1+r.IntN(50), len(rest))
			mustUpdate(t, tree, sorted(slices.Clone(rest[:n])))
			rest = rest[n:]
		}
		if tree.Root() != once.Root() || statetree.PagesIn(tree) != statetree.PagesIn(once) {
			t.Fatalf("another order gives root %x, want %x", tree.Root(), once.Root())
		}
	}
}

func TestUpdate_DeletionReturnsToTheEarlierRoot(t *testing.T) {
	r := newRand(3)
	tree, m := statetree.NewMem(), model{}
	roots := [][32]byte{tree.Root()}
	var batches [][]statetree.Change
	for i := range 20 {
		var batch []statetree.Change
		for j := range 15 {
			k := crowded(r)
			if i%2 == 0 {
				k = keyOf(fmt.Sprint(i, j))
			}
			if m[k] == nil {
				m[k] = []byte{1}
				batch = append(batch, statetree.Change{Key: k, Value: randomBytes(r, 8)})
			}
		}
		batches = append(batches, sorted(batch))
		mustUpdate(t, tree, batch)
		roots = append(roots, tree.Root())
	}
	for i := len(batches) - 1; i >= 0; i-- {
		for j := range batches[i] {
			batches[i][j].Value = nil
		}
		mustUpdate(t, tree, batches[i])
		if tree.Root() != roots[i] {
			t.Fatalf("with batch %d taken back the root is %x, was %x", i, tree.Root(), roots[i])
		}
	}
	if tree.Root() != [32]byte{} || statetree.PagesIn(tree) != 0 {
		t.Fatalf("the empty tree has root %x and %d pages", tree.Root(), statetree.PagesIn(tree))
	}
}

func TestUpdate_ListsOnlyWhatChanges(t *testing.T) {
	tree := statetree.NewMem()
	for i := range 100 {
		mustUpdate(t, tree, []statetree.Change{{Key: keyOf(fmt.Sprint(i)), Value: []byte("v")}})
	}
	d, err := statetree.Update(tree, tree.Root(), sorted([]statetree.Change{
		{Key: keyOf("1"), Value: []byte("v")},
		{Key: keyOf("2"), Value: []byte("w")},
		{Key: keyOf("absent")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Values) != 1 || d.Values[0].Key != keyOf("2") {
		t.Errorf("one value changes, the delta lists %v", d.Values)
	}
	for _, w := range d.Pages {
		if old, _ := tree.Page(w.ID); bytes.Equal(old, w.Data) {
			t.Errorf("page %s is listed and does not change", w.ID)
		}
	}
	same, err := statetree.Update(tree, tree.Root(), []statetree.Change{{Key: keyOf("1"), Value: []byte("v")}})
	if err != nil || same.Root != tree.Root() || len(same.Pages)+len(same.Values) != 0 {
		t.Errorf("a change to the same value gives %+v, %v", same, err)
	}
}

func TestUpdate_RefusesWhatIsNotASortedBatch(t *testing.T) {
	a, b := key{1}, key{2}
	v := []byte("v")
	for name, batch := range map[string][]statetree.Change{
		"descending":         {{Key: b, Value: v}, {Key: a, Value: v}},
		"the same key twice": {{Key: a, Value: v}, {Key: a}},
		"an empty value":     {{Key: a, Value: []byte{}}},
	} {
		tree := statetree.NewMem()
		if root, err := tree.Update(batch); !errors.Is(err, statetree.ErrChanges) || root != [32]byte{} {
			t.Errorf("%s: root %x, error %v", name, root, err)
		}
	}
}

func TestUpdate_ReturnsTheErrorOfTheStore(t *testing.T) {
	tree := statetree.NewMem()
	mustUpdate(t, tree, []statetree.Change{{Key: key{1}, Value: []byte("v")}})
	s := failing{tree}
	if _, err := statetree.Update(s, tree.Root(), []statetree.Change{{Key: key{2}, Value: []byte("v")}}); !errors.Is(err, errDisk) {
		t.Errorf("update: %v", err)
	}
	if _, err := statetree.Prove(s, tree.Root(), key{2}); !errors.Is(err, errDisk) {
		t.Errorf("prove: %v", err)
	}
}

var errDisk = errors.New("the disk is gone")

type failing struct{ statetree.Store }

func (failing) Page(statetree.PageID) ([]byte, error) { return nil, errDisk }

// Whatever happens to any one bit or byte of any page, the tree is either read
// as it was or not at all, and the error names the page.
func TestUpdateAndProve_RefuseADamagedPage(t *testing.T) {
	tree, m := statetree.NewMem(), model{}
	r := newRand(5)
	for range 12 {
		m[crowded(r)] = []byte("v")
	}
	for i := range 30 {
		m[keyOf(fmt.Sprint(i))] = []byte("v")
	}
	var changes []statetree.Change
	for k, v := range m {
		changes = append(changes, statetree.Change{Key: k, Value: v})
	}
	mustUpdate(t, tree, sorted(changes))
	for i := range changes {
		changes[i].Value = []byte("w")
	}
	for _, id := range statetree.PageIDs(tree) {
		good, _ := tree.Page(id)
		for name, bad := range damaged(good) {
			statetree.SetPage(tree, id, bad)
			_, err := statetree.Update(tree, tree.Root(), changes)
			if !errors.Is(err, statetree.ErrCorrupt) || !strings.Contains(err.Error(), "page "+id.String()+" ") {
				t.Fatalf("page %s with %s: update: %v", id, name, err)
			}
			refused := false
			for k := range m {
				if _, err := tree.Prove(k); errors.Is(err, statetree.ErrCorrupt) {
					refused = true
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if !refused {
				t.Fatalf("page %s with %s: every key is proven", id, name)
			}
		}
		statetree.SetPage(tree, id, good)
	}
	checkTree(t, tree, m)
}

func damaged(good []byte) map[string][]byte {
	bad := map[string][]byte{
		"nothing":           nil,
		"no bytes":          {},
		"a byte more":       append(slices.Clone(good), 0),
		"a byte less":       good[:len(good)-1],
		"only its header":   good[:4],
		"no slots":          make([]byte, 4),
		"all leaves":        append([]byte{0xff, 0xff, 0, 0}, make([]byte, 16*64)...),
		"slots of two kind": append([]byte{0xff, 0xff, 0xff, 0xff}, good[4:]...),
	}
	for i := range 8 * len(good) {
		if i >= 64 && i%37 != 0 {
			continue // every bit of the header and then some
		}
		flipped := slices.Clone(good)
		flipped[i/8] ^= 1 << (i % 8)
		bad[fmt.Sprint("bit ", i, " flipped")] = flipped
	}
	return bad
}

func TestBuilder_RefusesKeysOutOfOrderAndEmptyValues(t *testing.T) {
	v := []byte("v")
	b := statetree.NewBuilder(func(statetree.PageID, []byte) error { return nil })
	if err := b.Add(key{2}, nil); !errors.Is(err, statetree.ErrChanges) {
		t.Errorf("an empty value: %v", err)
	}
	if err := b.Add(key{2}, v); err != nil {
		t.Fatal(err)
	}
	for _, k := range []key{{2}, {1}} {
		if err := b.Add(k, v); !errors.Is(err, statetree.ErrChanges) {
			t.Errorf("key %s after %s: %v", k, key{2}, err)
		}
	}
}

func TestBuilder_EndsWithTheErrorOfEmit(t *testing.T) {
	b := statetree.NewBuilder(func(statetree.PageID, []byte) error { return errDisk })
	var err error
	for i := byte(1); i < 20 && err == nil; i++ {
		err = b.Add(key{0, i}, []byte("v"))
	}
	if !errors.Is(err, errDisk) {
		t.Errorf("add: %v", err)
	}
	if _, err := b.Finish(); !errors.Is(err, errDisk) {
		t.Errorf("finish: %v", err)
	}
}

func TestMem_RefusesADeltaFromAnotherRoot(t *testing.T) {
	tree := statetree.NewMem()
	d, err := statetree.Update(tree, tree.Root(), []statetree.Change{{Key: key{1}, Value: []byte("v")}})
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, tree, []statetree.Change{{Key: key{2}, Value: []byte("v")}})
	before := tree.Root()
	if err := tree.Apply(d); err == nil || tree.Root() != before || tree.Len() != 1 {
		t.Errorf("apply: %v, root %x, %d keys", err, tree.Root(), tree.Len())
	}
}

func TestMem_CloneGoesItsOwnWay(t *testing.T) {
	tree, m := statetree.NewMem(), model{}
	r := newRand(1)
	batch := randomBatch(r, 50, crowded)
	mustUpdate(t, tree, batch)
	m.apply(batch)
	clone := tree.Clone()
	mustUpdate(t, clone, randomBatch(r, 50, crowded))
	checkTree(t, tree, m)
}

func TestPageID_EncodingIsExact(t *testing.T) {
	tree := statetree.NewMem()
	mustUpdate(t, tree, randomBatch(newRand(2), 60, crowded))
	seen := make(map[string]bool)
	for _, id := range statetree.PageIDs(tree) {
		b := id.Append(nil)
		back, err := statetree.ParsePageID(b)
		if err != nil || back != id || seen[string(b)] {
			t.Errorf("page %s is written %x and read %s, %v", id, b, back, err)
		}
		seen[string(b)] = true
	}
	for _, b := range [][]byte{nil, {1}, {0, 0}, {1, 0x18}, {2, 0, 0}, append([]byte{64}, make([]byte, 32)...)} {
		if id, err := statetree.ParsePageID(b); err == nil {
			t.Errorf("%x is read as page %s", b, id)
		}
	}
}

func mustUpdate(t testing.TB, tree *statetree.Mem, batch []statetree.Change) {
	t.Helper()
	if _, err := tree.Update(batch); err != nil {
		t.Fatal(err)
	}
}
