package pebblestore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// maxTogether is how many requests one commit takes: enough to share a sync
// among, few enough that the first does not wait long for the last.
const maxTogether = 1024

// maxCached is the most bytes of bodies held in tails: at 100,000 messages a
// second, those of the last half second.
const maxCached = 32 << 20

// commit is one batch in the making.
type commit struct {
	store   *Store
	batch   *pebble.Batch
	sync    bool // something in it was promised to somebody
	touched []*state
	changed []*state         // those that readers see differently now
	ids     map[idAt]idFound // appended in this batch
	puts    []put            // appended, and not in the batch yet
	order   []*put           // of puts
	answers []answer
	key     [idKeySize]byte
}

// idAt and idFound are a message id of a stream, and what belongs to it.
type idAt struct {
	number uint64
	id     stream.MessageID
}

type idFound struct {
	seq uint64
	sum [16]byte
}

// put is one append's part of the batch.
type put struct {
	number uint64
	entry  entryValue
	sum    [32]byte
}

type answer struct {
	done    func(stream.Receipt, error)
	receipt stream.Receipt
	err     error
}

func (s *Store) commitLoop() {
	defer s.stopped.Done()
	var taken []request
	c := &commit{store: s, ids: make(map[idAt]idFound)}
	for {
		var closed bool
		taken, closed = s.take(taken[:0])
		for part := range slices.Chunk(taken, maxTogether) {
			c.run(part)
		}
		clear(taken)
		if closed && len(taken) == 0 {
			return
		}
	}
}

// take waits for requests and takes all that there are.
func (s *Store) take(into []request) (taken []request, closed bool) {
	q := &s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 && !q.closed {
		q.work.Wait()
	}
	taken, q.list = q.list, into
	q.bytes = 0
	q.room.Broadcast()
	return taken, q.closed
}

// run commits requests as one batch, answers them and wakes who waits.
func (c *commit) run(requests []request) {
	c.batch = c.store.db.NewBatch()
	for i := range requests {
		r := &requests[i]
		a := answer{done: r.done}
		switch {
		case c.store.broken != nil:
			a.err = c.store.broken
		case r.op != nil:
			c.putAll() // what an op deletes must be there before
			a.err = guard(func() error { return r.op(c) })
		default:
			a.receipt, a.err = c.append(r)
		}
		c.answers = append(c.answers, a)
	}
	c.putAll()
	err := c.write()
	for _, a := range c.answers {
		if a.err == nil {
			a.err = err
		}
		if a.err != nil {
			a.receipt = stream.Receipt{}
		}
		if a.done != nil {
			a.done(a.receipt, a.err)
		}
	}
	for _, st := range c.changed {
		for _, w := range c.store.watchersOf(st) {
			w.watcher.Woken(st.next.head.head.Seq)
		}
	}
	clear(c.answers)
	clear(c.touched)
	clear(c.changed)
	clear(c.ids)
	c.answers, c.touched, c.changed, c.sync = c.answers[:0], c.touched[:0], c.changed[:0], false
}

// write makes the batch durable and shows readers what is in it.
func (c *commit) write() error {
	s := c.store
	if !c.batch.Empty() {
		option := pebble.NoSync
		if c.sync {
			option = pebble.Sync
		}
		if err := guard(func() error { return s.db.Apply(c.batch, option) }); err != nil {
			s.options.Logger.Error("store: disk failed", "error", err)
			s.broken = wire.Errorf(wire.Unavailable, "server's disk failed (%w): its operator must make room or repair it, and start the server again", err)
		}
	}
	if s.broken != nil {
		for _, st := range c.touched {
			st.staged, st.fresh, st.next = false, nil, st.view
		}
		return s.broken
	}
	guard(c.batch.Close)
	for _, st := range c.touched {
		watched := len(s.watchersOf(st)) > 0
		if st.next.head.head != st.view.head.head || st.next.exists != st.view.exists {
			c.changed = append(c.changed, st)
		}
		if grown := st.publish(watched); grown > 0 {
			s.cached += grown
			s.tails = append(s.tails, st)
		}
	}
	if s.cached > maxCached {
		s.dropTails()
	}
	return nil
}

// dropTails forgets the newest entries; they are in the database.
func (s *Store) dropTails() {
	for _, st := range s.tails {
		st.mu.Lock()
		st.tail = nil
		st.mu.Unlock()
	}
	clear(s.tails)
	s.tails, s.cached = s.tails[:0], 0
}

// stage returns a state whose next view may be changed.
func (c *commit) stage(id stream.ID) (*state, error) {
	st, err := c.store.find(id)
	if err != nil {
		return nil, err
	}
	if !st.staged {
		st.staged, st.next = true, st.view // only this goroutine changes views
		c.touched = append(c.touched, st)
	}
	return st, nil
}

func (c *commit) append(r *request) (stream.Receipt, error) {
	st, err := c.stage(r.id)
	if err != nil {
		return stream.Receipt{}, err
	}
	v := &st.next
	if !v.exists {
		return stream.Receipt{}, stream.ErrNotFound
	}
	at := idAt{v.number, r.m.ID}
	found, err := c.known(at)
	if err != nil {
		return stream.Receipt{}, err
	}
	if found.seq > 0 {
		if found.sum != [16]byte(r.sum[:]) {
			return stream.Receipt{}, stream.ErrReused
		}
		return stream.Receipt{Seq: found.seq, Again: true}, nil
	}
	if r.m.Expect != nil && *r.m.Expect != v.head.head {
		return stream.Receipt{}, &stream.HeadError{Head: v.head.head}
	}
	if full(v, len(r.m.Body)) {
		return stream.Receipt{}, stream.ErrFull
	}
	v.head.head = v.head.head.Next(r.m.ID, r.sum)
	v.head.end += uint64(len(r.m.Body))
	seq := v.head.head.Seq
	c.puts = append(c.puts, put{v.number, entryValue{place: v.head, stamp: c.store.now(), id: r.m.ID, body: r.m.Body}, r.sum})
	c.ids[at] = idFound{seq, [16]byte(r.sum[:])}
	c.store.ids.add(at)
	st.fresh = append(st.fresh, stream.Entry{Seq: seq, ID: r.m.ID, Body: r.m.Body})
	c.sync = true
	return stream.Receipt{Seq: seq}, nil
}

func full(v *view, size int) bool {
	s := v.settings
	return s.MaxEntries > 0 && v.head.head.Seq-v.base.head.Seq >= s.MaxEntries ||
		s.MaxBytes > 0 && v.head.end-v.base.end+uint64(size) > s.MaxBytes
}

// putAll puts entries and ids into the batch, each kind in the order of its keys:
// the database looks for the place of a key where it put the one before.
func (c *commit) putAll() {
	if len(c.puts) == 0 {
		return
	}
	for i := range c.puts {
		c.order = append(c.order, &c.puts[i])
	}
	slices.SortFunc(c.order, func(a, b *put) int {
		if a.number != b.number {
			return cmp.Compare(a.number, b.number)
		}
		return cmp.Compare(a.entry.head.Seq, b.entry.head.Seq)
	})
	for _, p := range c.order {
		d := c.batch.SetDeferred(1+8+8, entryHead+len(p.entry.body))
		d.Key[0] = entrySpace
		binary.BigEndian.PutUint64(d.Key[1:], p.number)
		binary.BigEndian.PutUint64(d.Key[9:], p.entry.head.Seq)
		putEntry(d.Value, p.entry)
		d.Finish() // fails only for indexed batches
	}
	slices.SortFunc(c.order, func(a, b *put) int {
		if a.number != b.number {
			return cmp.Compare(a.number, b.number)
		}
		return bytes.Compare(a.entry.id[:], b.entry.id[:])
	})
	for _, p := range c.order {
		d := c.batch.SetDeferred(idKeySize, idValue)
		putIDKey(d.Key, age(p.entry.stamp), p.number, p.entry.id)
		binary.BigEndian.PutUint64(d.Value, p.entry.head.Seq)
		copy(d.Value[8:], p.sum[:])
		d.Finish()
	}
	clear(c.puts)
	clear(c.order)
	c.puts, c.order = c.puts[:0], c.order[:0]
}

// known looks for a message id in this batch, this age and the last.
func (c *commit) known(at idAt) (idFound, error) {
	if f, ok := c.ids[at]; ok {
		return f, nil
	}
	if f := c.store.ids.now; f != nil && !f.mayHave(at) {
		return idFound{}, nil
	}
	newest := age(c.store.now())
	for _, a := range [...]uint32{newest, newest - 1} {
		if a == 0 {
			break
		}
		putIDKey(c.key[:], a, at.number, at.id)
		b, closer, err := c.store.db.Get(c.key[:])
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return idFound{}, fmt.Errorf("look up message id: %w", err)
		}
		defer closer.Close()
		if len(b) != idValue {
			return idFound{}, errDamaged
		}
		return idFound{binary.BigEndian.Uint64(b), [16]byte(b[8:])}, nil
	}
	return idFound{}, nil
}

// configure creates a stream or changes its settings.
func (c *commit) configure(id stream.ID, settings stream.Settings) error {
	st, err := c.stage(id)
	if err != nil {
		return err
	}
	c.sync = true
	v := &st.next
	st.mu.Lock()
	defer st.mu.Unlock()
	if !v.exists {
		c.store.next++
		genesis := place{head: stream.Genesis(id)}
		*v = view{exists: true, number: c.store.next, head: genesis, base: genesis}
		st.cursors, st.moved = map[stream.Reader]uint64{}, nil
		c.putStoreRecord()
	}
	v.settings = settings
	for r := range st.cursors {
		if !slices.Contains(settings.Readers, r) {
			delete(st.cursors, r)
			c.batch.Delete(cursorKey(v.number, r), nil)
		}
	}
	for _, r := range settings.Readers {
		if _, ok := st.cursors[r]; !ok {
			st.cursors[r] = v.base.head.Seq
			c.putCursor(v.number, r, v.base.head.Seq)
		}
	}
	st.moved = slices.DeleteFunc(st.moved, func(r stream.Reader) bool {
		return !slices.Contains(settings.Readers, r)
	})
	c.batch.Set(streamKey(id), wire.Encode(recordOf(v.number, settings)), nil)
	return c.rebase(st, leastCursor(*v, st.cursors))
}

// settle writes the cursors of a stream that have moved, and lets go of what
// nobody waits for any more.
func (c *commit) settle(moved *state) error {
	st, err := c.stage(moved.id)
	if err != nil {
		return err
	}
	if st != moved { // evicted between being looked up and acknowledged
		carryOver(moved, st)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.next.exists {
		return nil
	}
	for _, r := range st.moved {
		c.putCursor(st.next.number, r, st.cursors[r])
	}
	st.moved = st.moved[:0]
	return c.rebase(st, leastCursor(st.next, st.cursors))
}

func carryOver(from, to *state) {
	from.mu.Lock()
	defer from.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	for _, r := range from.moved {
		if _, ok := to.cursors[r]; ok && from.view.number == to.view.number && from.cursors[r] > to.cursors[r] {
			to.cursors[r] = from.cursors[r]
			to.moved = append(to.moved, r)
		}
	}
	from.moved = nil
}

// rebase moves the beginning of a stream up to an entry that is durable.
func (c *commit) rebase(st *state, seq uint64) error {
	v := &st.next
	if seq <= v.base.head.Seq {
		return nil
	}
	at := *v
	at.head = st.view.head // what is newer is not in the database yet
	p, err := c.store.placeAt(at, seq)
	if err != nil {
		return err
	}
	v.base = p
	c.store.untidy[st] = true
	return nil
}

func (c *commit) trim(id stream.ID, upto uint64) error {
	st, err := c.stage(id)
	if err != nil {
		return err
	}
	if !st.next.exists {
		return stream.ErrNotFound
	}
	if upto > st.view.head.head.Seq {
		return stream.ErrAhead
	}
	if err := c.rebase(st, upto); err != nil {
		return err
	}
	c.sync = true
	return c.tidy(st)
}

func (c *commit) remove(id stream.ID) error {
	st, err := c.stage(id)
	if err != nil || !st.next.exists {
		return err
	}
	c.sync = true
	number := st.next.number
	for _, space := range []byte{entrySpace, cursorSpace} {
		prefix := numberKey(space, number)
		c.batch.DeleteRange(prefix, upperBound(prefix), nil)
	}
	c.batch.Delete(numberKey(baseSpace, number), nil)
	c.batch.Delete(streamKey(id), nil)
	delete(c.store.untidy, st)
	st.next, st.fresh = view{}, nil
	return nil
}

func (c *commit) putCursor(number uint64, r stream.Reader, seq uint64) {
	c.batch.Set(cursorKey(number, r), binary.BigEndian.AppendUint64(nil, seq), nil)
}

func (c *commit) putStoreRecord() {
	s := c.store
	c.batch.Set([]byte{storeSpace}, wire.Encode(storeRecord{
		Next: s.next, Seconds: s.clock.Seconds, Wall: s.clock.Wall.Unix(),
	}), nil)
}
