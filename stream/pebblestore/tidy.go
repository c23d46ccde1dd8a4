package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

const (
	// tickEvery is how often the clock, the disk and what was acknowledged are
	// looked at.
	tickEvery = time.Second
	// sweepEvery is how often all streams are looked at for what has expired:
	// it costs a read for each.
	sweepEvery = time.Hour
	// maxLeap is how far the store's time follows the machine's across a
	// restart: a clock that was wrong, or was set, must not expire what waits.
	maxLeap = 10 * time.Minute
	// recordClock is how often the store's time is written.
	recordClock = 60 // seconds
	// fewEntries are deleted one by one; more, as a range. Ranges are cheap to
	// write, but each makes every read before the next flush a little dearer.
	fewEntries = 32
)

func (s *Store) tickLoop() {
	defer s.stopped.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick, sweep := time.NewTicker(tickEvery), time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.checkDisk()
			s.do((*commit).tick, nil)
		case <-sweep.C:
			s.stopped.Add(1)
			go func() { // so that ticks go on
				defer s.stopped.Done()
				if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
					s.options.Logger.Error("store: sweep", "error", err)
				}
			}()
		}
	}
}

// checkDisk finds out whether there is room for appends.
func (s *Store) checkDisk() {
	usage, err := s.options.FS.GetDiskUsage(s.dir)
	if err != nil {
		return // a file system that cannot say
	}
	low := usage.AvailBytes < s.options.Reserve
	if s.lowDisk.Swap(low) != low {
		s.options.Logger.Warn("store: disk", "nearly full", low, "free", usage.AvailBytes, "reserve", s.options.Reserve)
	}
}

// tick moves the clock on and deletes what was acknowledged.
func (c *commit) tick() error {
	s := c.store
	before := s.clock.Seconds
	s.clock.Advance(s.options.Now(), maxLeap)
	s.seconds.Store(s.clock.Seconds)
	if before/recordClock != s.clock.Seconds/recordClock {
		c.putStoreRecord()
	}
	if a := age(s.clock.Seconds); a > age(before) {
		c.batch.DeleteRange(ageKey(0), ageKey(a-1), nil)
		c.filterIDs(firstIDs) // of what remains
	} else if f := s.ids.now; f != nil && f.full() && f.room < mostIDs {
		c.filterIDs(growth * f.room)
	}
	s.dropTails()
	for st := range s.untidy {
		if _, err := c.stage(st.id); err != nil {
			return err
		}
		if err := c.tidy(st); err != nil {
			return err
		}
	}
	return nil
}

// tidy deletes from the database what is before the beginning of a staged
// stream. Where it begins is written in the same batch.
func (c *commit) tidy(st *state) error {
	delete(c.store.untidy, st)
	v := &st.next
	if !v.exists || v.trimmed == v.base.head.Seq {
		return nil
	}
	if v.base.head.Seq-v.trimmed <= fewEntries {
		for seq := v.trimmed + 1; seq <= v.base.head.Seq; seq++ {
			c.batch.Delete(entryKey(v.number, seq), nil)
		}
	} else {
		c.batch.DeleteRange(entryKey(v.number, v.trimmed+1), entryKey(v.number, v.base.head.Seq+1), nil)
	}
	v.trimmed = v.base.head.Seq
	return c.batch.Set(numberKey(baseSpace, v.number), encodeBase(v.base), nil)
}

// Sweep looks at every stream once and lets go of what has expired. It happens
// by itself every hour.
func (s *Store) Sweep(ctx context.Context) error {
	var last []byte
	for {
		ids, err := s.streamsAfter(last)
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if len(ids) == 0 {
			return nil
		}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.expire(ctx, id); err != nil && !errors.Is(err, stream.ErrNotFound) {
				return fmt.Errorf("sweep stream %s: %w", id, err)
			}
			last = streamKey(id)
		}
	}
}

// sweepTogether is how many ids are read at once: an iterator that stays open
// would keep deleted entries on the disk.
const sweepTogether = 1000

func (s *Store) streamsAfter(last []byte) (ids []stream.ID, err error) {
	err = s.read(func() error {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{streamSpace}, UpperBound: []byte{streamSpace + 1}})
		if err != nil {
			return err
		}
		defer it.Close()
		ok := it.First()
		if last != nil {
			if ok = it.SeekGE(last); ok && string(it.Key()) == string(last) {
				ok = it.Next()
			}
		}
		for ; ok && len(ids) < sweepTogether; ok = it.Next() {
			if len(it.Key()) != 1+32 {
				return errDamaged
			}
			ids = append(ids, stream.ID(it.Key()[1:]))
		}
		return it.Error()
	})
	return ids, err
}

// expire trims what has waited for longer than its stream's TTL. Entries came in
// the order of their numbers, so the expired ones are the first.
func (s *Store) expire(ctx context.Context, id stream.ID) error {
	_, v, err := s.peek(id)
	if err != nil {
		return err
	}
	ttl := uint64(v.settings.TTL / time.Second)
	if now := s.now(); ttl > 0 && ttl < now {
		base := v.base.head.Seq
		n := sort.Search(int(v.head.head.Seq-base), func(i int) bool {
			stamp, found := s.stamp(v, base+uint64(i)+1)
			return found && stamp+ttl > now // one that is gone is expired
		})
		if n > 0 {
			return s.Trim(ctx, id, base+uint64(n))
		}
	}
	if v.base.head.Seq > v.trimmed { // acknowledged just before a crash
		return s.Trim(ctx, id, v.base.head.Seq)
	}
	return nil
}

// stamp returns when an entry came.
func (s *Store) stamp(v view, seq uint64) (stamp uint64, found bool) {
	err := s.read(func() error {
		b, closer, err := s.db.Get(entryKey(v.number, seq))
		if err != nil {
			return err
		}
		defer closer.Close()
		e, err := decodeEntry(seq, b)
		stamp = e.stamp
		return err
	})
	return stamp, err == nil
}

// Check reads the whole store and returns an error if anything in it contradicts
// anything else. It is for a store that nobody changes meanwhile.
func (s *Store) Check(ctx context.Context) error {
	var last []byte
	for {
		ids, err := s.streamsAfter(last)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := s.checkStream(ctx, id); err != nil {
				return wire.Errorf(wire.Internal, "check stream %s: %w", id, err)
			}
			last = streamKey(id)
		}
	}
}

func (s *Store) checkStream(ctx context.Context, id stream.ID) error {
	_, v, err := s.peek(id)
	if err != nil {
		return err
	}
	at, end := v.base.head, v.base.end
	for at.Seq < v.head.head.Seq {
		page, err := s.Range(ctx, id, at.Seq, stream.MaxPage)
		if err != nil {
			return err
		}
		if page.After != at.Seq {
			return fmt.Errorf("%w (entries %d to %d are missing)", errDamaged, at.Seq+1, page.After)
		}
		at = at.Follow(page.Entries)
		for _, e := range page.Entries {
			end += uint64(len(e.Body))
		}
	}
	if at != v.head.head || end != v.head.end {
		return fmt.Errorf("%w (its entries do not give its head)", errDamaged)
	}
	return nil
}
