package namescript_test

import (
	"encoding/binary"
	"maps"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// state is a small whole state with everything in it, and its time.
func state(t *testing.T) (leaves map[namesvc.Key][]byte, now uint64, ids map[string]namesvc.AccountID) {
	t.Helper()
	s, err := namescript.Parse(`
params checkpoint=2
actor alice person
actor bob person
register alice @alice device=d1 device=d2 => ok
register bob @bobby => ok
release bob @bobby => ok
release alice @alice by=r1 => ok
block
`[1:])
	if err != nil {
		t.Fatal(err)
	}
	law, err := namescript.NewLaw(s.Params)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := namescript.Run(s, law); err != nil {
		t.Fatal(err)
	}
	ids = map[string]namesvc.AccountID{}
	leaves = maps.Collect(law.All())
	for _, b := range leaves {
		if e, err := namesvc.DecodeEntry(b); err == nil {
			ids[string(append([]byte(e.Primary()), '.'))] = e.Account
		}
	}
	_, now = law.Head()
	return leaves, now, ids
}

func queuePlace(n uint64) namesvc.Key {
	return namesvc.LeafKey('q', binary.BigEndian.AppendUint64(nil, n))
}

// TestCheckState_FindsEveryDamage changes one thing in a sound state and wants
// to be told.
func TestCheckState_FindsEveryDamage(t *testing.T) {
	sound, now, ids := state(t)
	if err := namescript.CheckState(maps.All(sound), now); err != nil {
		t.Fatal(err)
	}
	alice, bob := ids["alice."], ids["."]
	onEntry := func(id namesvc.AccountID, f func(*namesvc.Entry)) func(map[namesvc.Key][]byte) {
		return func(m map[namesvc.Key][]byte) {
			k := namesvc.AccountKey(id)
			e, err := namesvc.DecodeEntry(m[k])
			if err != nil {
				t.Fatal(err)
			}
			f(&e)
			m[k] = e.Encode()
		}
	}
	onHandle := func(h namesvc.Handle, f func(*namesvc.HandleLeaf)) func(map[namesvc.Key][]byte) {
		return func(m map[namesvc.Key][]byte) {
			k := namesvc.HandleKey(h.Skeleton())
			l, err := namesvc.DecodeHandleLeaf(m[k])
			if err != nil {
				t.Fatal(err)
			}
			f(&l)
			m[k] = l.Encode()
		}
	}
	onDevices := func(f func(*namesvc.Devices)) func(map[namesvc.Key][]byte) {
		return func(m map[namesvc.Key][]byte) {
			k := namesvc.DevicesKey(alice)
			d, err := namesvc.DecodeDevices(m[k])
			if err != nil {
				t.Fatal(err)
			}
			f(&d)
			m[k] = d.Encode()
			onEntry(alice, func(e *namesvc.Entry) { e.DevicesRoot = d.Root() })(m)
		}
	}
	drop := func(k namesvc.Key) func(map[namesvc.Key][]byte) {
		return func(m map[namesvc.Key][]byte) {
			if m[k] == nil {
				t.Fatal("nothing to drop")
			}
			delete(m, k)
		}
	}
	for name, c := range map[string]struct {
		damage func(map[namesvc.Key][]byte)
		want   string
	}{
		"stray leaf":      {func(m map[namesvc.Key][]byte) { m[namesvc.Key{1}] = []byte{0} }, "none of the law's"},
		"no parameters":   {drop(namesvc.ParamsKey()), "parameters is missing"},
		"no validators":   {drop(namesvc.ValidatorsKey()), "validator set is missing"},
		"no meter":        {drop(namesvc.MeterKey()), "meter is missing"},
		"no checkpoint 0": {drop(namesvc.CheckpointKey(0)), "checkpoint 0 is missing"},
		"no devices":      {drop(namesvc.DevicesKey(alice)), "devices leaf is missing"},
		"no entry":        {drop(namesvc.AccountKey(alice)), "account is missing"},
		"no handle":       {drop(namesvc.HandleKey(namesvc.Handle("alice").Skeleton())), "has no leaf"},
		"no place":        {drop(queuePlace(0)), "place 0 of the queue is missing"},
		"entry elsewhere": {onEntry(alice, func(e *namesvc.Entry) { e.Account[0] ^= 1 }), "none of the law's"},
		"entry not canonical": {func(m map[namesvc.Key][]byte) {
			m[namesvc.AccountKey(alice)] = append([]byte{0}, m[namesvc.AccountKey(alice)]...)
		}, "none of the law's"},
		"active tomorrow":    {onEntry(alice, func(e *namesvc.Entry) { e.LastActive = now + 1 }), "active"},
		"lapses early":       {onEntry(alice, func(e *namesvc.Entry) { e.Lapses-- }), "lapses"},
		"budget overdrawn":   {onEntry(alice, func(e *namesvc.Entry) { e.Quota = now + 1e9 }), "overdrawn"},
		"holds a given-up":   {onEntry(bob, func(e *namesvc.Entry) { e.Handles = []namesvc.Lease{{Handle: "bobby", Generation: 1}} }), "held is true"},
		"holds another's":    {onEntry(bob, func(e *namesvc.Entry) { e.Handles = []namesvc.Lease{{Handle: "alice", Generation: 1}} }), "its leaf says"},
		"holds it not":       {onEntry(alice, func(e *namesvc.Entry) { e.Handles, e.Pending = nil, nil }), "held is false"},
		"holds two alike":    {onEntry(alice, func(e *namesvc.Entry) { e.Handles = append(e.Handles, namesvc.Lease{Handle: "a1ice", Generation: 1}) }), "holds both"},
		"pending of another": {onEntry(alice, func(e *namesvc.Entry) { e.Pending.Handle = "bobby" }), "pending"},
		"pending of root 0":  {onEntry(alice, func(e *namesvc.Entry) { e.Pending.Rank = 0 }), "pending"},
		"other generation":   {onHandle("alice", func(l *namesvc.HandleLeaf) { l.Generation = 2 }), "its leaf says"},
		"other owner":        {onHandle("alice", func(l *namesvc.HandleLeaf) { l.Account = bob }), "its leaf says"},
		"other spelling":     {onHandle("alice", func(l *namesvc.HandleLeaf) { l.Handle = "a1ice" }), "its leaf says"},
		"registered later":   {onHandle("alice", func(l *namesvc.HandleLeaf) { l.Registered = now + 1 }), "registered"},
		"not released":       {onHandle("bobby", func(l *namesvc.HandleLeaf) { l.Released = 0 }), "held is false"},
		"other devices":      {onEntry(alice, func(e *namesvc.Entry) { e.DevicesRoot[0] ^= 1 }), "devices leaf is another"},
		"other number":       {onDevices(func(d *namesvc.Devices) { d.Seq++ }), "devices leaf is another"},
		"device twice":       {onDevices(func(d *namesvc.Devices) { d.List[1] = d.List[0] }), "listed twice"},
		"device without use": {onDevices(func(d *namesvc.Devices) { d.List[0].Scopes = 0 }), "makes no sense"},
		"device is a root":   {onEntry(alice, func(e *namesvc.Entry) { e.Roots[1] = deviceOf(t, sound, alice) }), "is a device"},
		"device is next": {onEntry(alice, func(e *namesvc.Entry) {
			h := deviceOf(t, sound, alice).NextHash()
			e.NextRoot = h[:]
		}), "is a device"},
		"devices of nobody": {onEntry(alice, func(e *namesvc.Entry) { e.DeviceSeq, e.DevicesRoot = 0, [32]byte{} }), "no entry speaks"},
		"meter ahead": {func(m map[namesvc.Key][]byte) {
			var meter namesvc.Meter
			if err := wire.Decode(m[namesvc.MeterKey()], &meter, 64); err != nil {
				t.Fatal(err)
			}
			meter.Next++
			m[namesvc.MeterKey()] = wire.Encode(meter)
		}, "is missing"},
	} {
		m := maps.Clone(sound)
		c.damage(m)
		if err := namescript.CheckState(maps.All(m), now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something about %q", name, err, c.want)
		}
	}
}

func deviceOf(t *testing.T, m map[namesvc.Key][]byte, id namesvc.AccountID) key.Public {
	t.Helper()
	d, err := namesvc.DecodeDevices(m[namesvc.DevicesKey(id)])
	if err != nil {
		t.Fatal(err)
	}
	return d.List[0].Key
}
