package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confab-chat/confab/stream"
)

// knownHead is a head that was computed, and of which making of its stream.
type knownHead struct {
	born string
	head stream.Head
}

const (
	// maxHeads is how many computed heads are kept, some 100 bytes each.
	maxHeads = 1 << 16
	// sumsTogether is how many entries' sums one call fetches, 50 bytes each.
	sumsTogether = 1000
)

// record is the hash that a stream has on Redis.
type record map[string]string

func (r record) number(name string) uint64 {
	n, _ := strconv.ParseUint(r[name], 10, 64)
	return n
}

func (s *Store) record(ctx context.Context, id stream.ID) (record, error) {
	if s.isClosed() {
		return nil, stream.ErrClosed
	}
	fields, err := s.client.HGetAll(ctx, s.keys(id)[0]).Result()
	if err != nil {
		_, err = s.verdict(nil, err)
		return nil, err
	}
	if len(fields) == 0 {
		return nil, stream.ErrNotFound
	}
	if len(fields["readers"])%32 != 0 || len(fields["hhash"]) != 32 {
		return nil, errDamaged
	}
	return fields, nil
}

// State returns a stream's state; see stream.Log.
func (s *Store) State(ctx context.Context, id stream.ID) (stream.State, error) {
	for {
		r, err := s.record(ctx, id)
		if err != nil {
			return stream.State{}, err
		}
		head, err := s.headAt(ctx, id, r, r.number("seq"))
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return stream.State{}, err
		}
		state := stream.State{
			Settings: stream.Settings{
				MaxEntries: r.number("maxn"), MaxBytes: r.number("maxb"),
				TTL: time.Duration(r.number("ttl")) * time.Second,
			},
			Head: head, Base: r.number("base"), Bytes: r.number("bytes") - r.number("basebytes"),
			Cursors: make(map[stream.Reader]uint64),
		}
		for b := range slices.Chunk([]byte(r["readers"]), 32) {
			reader := stream.Reader(b)
			state.Settings.Readers = append(state.Settings.Readers, reader)
			state.Cursors[reader] = r.number("c" + string(b))
		}
		return state, nil
	}
}

// errMoved says that what a head is made of was deleted meanwhile, since it is in
// a newer hash.
var errMoved = errors.New("stream was trimmed meanwhile")

// headAt computes the head that a stream had at a number that is not before the
// hash that is kept of it.
func (s *Store) headAt(ctx context.Context, id stream.ID, r record, seq uint64) (stream.Head, error) {
	head := stream.Head{Seq: r.number("hseq"), Hash: [32]byte([]byte(r["hhash"]))}
	s.mu.Lock()
	if k := s.heads[id]; k.born == r["born"] && k.head.Seq > head.Seq && k.head.Seq <= seq {
		head = k.head
	}
	s.mu.Unlock()
	far := seq > head.Seq+sumsTogether
	for head.Seq < seq {
		reply, err := s.call(ctx, "sums", s.keys(id), head.Seq, min(seq, head.Seq+sumsTogether))
		if err != nil {
			return head, err
		}
		if uint64(len(reply)-1) != min(seq, head.Seq+sumsTogether)-head.Seq {
			return head, s.moved(ctx, id, r)
		}
		for i := range reply[1:] {
			m, err := packedAt(reply, i+1, 16+32)
			if err != nil {
				return head, err
			}
			head = head.Next(stream.MessageID(m[:16]), [32]byte(m[16:]))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if far {
		s.untidy[id] = true // so that nobody has to go so far again
	}
	if len(s.heads) >= maxHeads {
		for other := range s.heads { // any
			delete(s.heads, other)
			break
		}
	}
	s.heads[id] = knownHead{r["born"], head}
	return head, nil
}

// moved tells a stream that was trimmed or made anew from one that is damaged.
func (s *Store) moved(ctx context.Context, id stream.ID, r record) error {
	now, err := s.record(ctx, id)
	if err != nil {
		return err
	}
	if now["born"] != r["born"] || now["hseq"] != r["hseq"] {
		return errMoved
	}
	return errDamaged
}

// tidy deletes the entries before a stream's beginning, after it has seen to it
// that the chain's hash up to there is kept.
func (s *Store) tidy(ctx context.Context, id stream.ID) error {
	r, err := s.record(ctx, id)
	if err != nil {
		return err
	}
	upto := max(r.number("base"), r.number("hseq"))
	if r.number("seq")-upto > sumsTogether {
		upto = r.number("seq")
	}
	if upto == r.number("hseq") && r.number("base") <= r.number("trimmed") {
		return nil
	}
	s.mu.Lock()
	if k := s.heads[id]; k.born == r["born"] && k.head.Seq > upto {
		delete(s.heads, id) // headAt goes on from what is kept
	}
	s.mu.Unlock()
	head, err := s.headAt(ctx, id, r, upto)
	if errors.Is(err, errMoved) {
		return nil // somebody else has done it
	}
	if err != nil {
		return err
	}
	_, err = s.write(ctx, "checkpoint", s.keys(id), r["born"], head.Seq, head.Hash[:])
	if errors.Is(err, stream.ErrNotFound) {
		return nil
	}
	return err
}

func (s *Store) tickLoop() {
	defer s.stopped.Done()
	tick, check, sweep := time.NewTicker(tickEvery), time.NewTicker(checkEvery), time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer check.Stop()
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			err = s.tidyAll(s.ctx)
		case <-check.C:
			err = errors.Join(s.check(s.ctx), s.tick(s.ctx))
		case <-sweep.C:
			err = s.sweepOnce(s.ctx)
		}
		if err != nil && s.ctx.Err() == nil {
			s.options.Logger.Error("redis", "error", err)
		}
	}
}

// check looks again at what Open looked at: somebody may have changed it.
func (s *Store) check(ctx context.Context) error {
	err := s.checkServers(ctx)
	if err == nil {
		s.unsafe.Store(nil)
		return nil
	}
	s.unsafe.Store(&err)
	return err
}

// tick moves the store's clock on.
func (s *Store) tick(ctx context.Context) error { return s.tickTo(ctx, "") }

func (s *Store) clockKey() string { return s.options.Prefix + ":clock" }

func (s *Store) tickTo(ctx context.Context, wall string) error {
	reply, err := s.call(ctx, "tick", []string{s.clockKey()}, int64(maxLeap/time.Second), wall)
	if err != nil {
		return err
	}
	seconds, err := number(reply, 1)
	if err != nil {
		return err
	}
	s.seconds.Store(seconds)
	return nil
}

func (s *Store) tidyAll(ctx context.Context) error {
	s.mu.Lock()
	untidy := s.untidy
	s.untidy = make(map[stream.ID]bool)
	s.mu.Unlock()
	for id := range untidy {
		if err := s.tidy(ctx, id); err != nil && !errors.Is(err, stream.ErrNotFound) {
			s.mark(id)
			return fmt.Errorf("tidy stream %s: %w", id, err)
		}
	}
	return nil
}

// sweepOnce sweeps unless another process has done so in this hour.
func (s *Store) sweepOnce(ctx context.Context) error {
	first, err := s.client.SetNX(ctx, s.options.Prefix+":sweeper", "1", sweepEvery*9/10).Result()
	if err != nil || !first {
		return err
	}
	return s.Sweep(ctx)
}

// Sweep looks at every stream once and lets go of what has expired. It happens
// by itself every hour, in one of the processes.
func (s *Store) Sweep(ctx context.Context) error {
	return s.eachServer(ctx, func(ctx context.Context, c *redis.Client) error {
		it := c.Scan(ctx, 0, s.options.Prefix+":{*}:s", 1000).Iterator()
		for it.Next(ctx) {
			if id, ok := s.parseTag(strings.TrimSuffix(it.Val(), "s")); ok {
				if err := s.expire(ctx, id); err != nil && !errors.Is(err, stream.ErrNotFound) {
					return fmt.Errorf("sweep stream %s: %w", id, err)
				}
			}
		}
		return it.Err()
	})
}

func (s *Store) expire(ctx context.Context, id stream.ID) error {
	if _, err := s.write(ctx, "expire", s.keys(id), s.seconds.Load()); err != nil {
		return err
	}
	return s.tidy(ctx, id)
}
