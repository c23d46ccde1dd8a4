package redisstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Bounds of what waits to be sent.
const (
	maxQueued      = 1 << 13  // requests
	maxQueuedBytes = 16 << 20 // of bodies
	// maxTogether is how many requests one pipeline takes: enough to share a sync
	// among, few enough that Redis is not kept from others for long.
	maxTogether = 512
)

// request is one call of a function that writes.
type request struct {
	function string
	keys     []string
	args     []any
	size     int
	done     func(reply []any, err error)
}

// queue holds requests until the pipeline before them is answered.
type queue struct {
	mu         sync.Mutex
	work, room sync.Cond
	list       []request
	bytes      int
	closed     bool
}

func (q *queue) init() { q.work.L, q.room.L = &q.mu, &q.mu }

func (q *queue) add(r request) {
	q.mu.Lock()
	for !q.closed && (len(q.list) >= maxQueued || q.bytes >= maxQueuedBytes) {
		q.room.Wait()
	}
	if q.closed {
		q.mu.Unlock()
		r.done(nil, stream.ErrClosed)
		return
	}
	q.list = append(q.list, r)
	q.bytes += r.size
	q.mu.Unlock()
	q.work.Signal()
}

// take waits for requests; none means that the queue is closed and empty.
func (q *queue) take() []request {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 && !q.closed {
		q.work.Wait()
	}
	n := min(len(q.list), maxTogether)
	taken := q.list[:n:n]
	q.list = q.list[n:]
	for _, r := range taken {
		q.bytes -= r.size
	}
	q.room.Broadcast()
	return taken
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.work.Broadcast()
	q.room.Broadcast()
}

// sendLoop sends one pipeline after the other.
func (s *Store) sendLoop() {
	defer s.stopped.Done()
	for {
		requests := s.queue.take()
		if len(requests) == 0 {
			return
		}
		if s.options.Replicas == 0 {
			s.send(s.client, requests, false)
			continue
		}
		for client, part := range s.byServer(requests) {
			s.send(client, part, true)
		}
	}
}

// pipeliner is a server or a cluster.
type pipeliner interface {
	Pipeline() redis.Pipeliner
}

// byServer groups requests by the server that holds their keys, since WAITAOF is
// about what one connection wrote.
func (s *Store) byServer(requests []request) map[pipeliner][]request {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return map[pipeliner][]request{s.client: requests}
	}
	parts := make(map[pipeliner][]request)
	for _, r := range requests {
		server, err := cluster.MasterForKey(s.ctx, r.keys[0])
		if err != nil {
			r.done(nil, unavailable(err))
			continue
		}
		parts[server] = append(parts[server], r)
	}
	return parts
}

// send has Redis run requests, and answers them.
func (s *Store) send(to pipeliner, requests []request, wait bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 2*answerTime)
	defer cancel()
	pipe := to.Pipeline()
	replies := make([]*redis.Cmd, len(requests))
	for i, r := range requests {
		replies[i] = pipe.FCall(ctx, prefixOf(r.function), r.keys, r.args...)
	}
	var synced *redis.Cmd
	if wait {
		synced = pipe.Do(ctx, "WAITAOF", 1, s.options.Replicas, (answerTime / 2).Milliseconds())
	}
	pipe.Exec(ctx) // each reply has its own error
	unsynced := s.judgeSync(synced)
	for i, r := range requests {
		reply, err := s.verdict(replies[i].Slice())
		if err == nil && unsynced != nil {
			err = unsynced
		}
		r.done(reply, err)
	}
}

// judgeSync says whether as many replicas have synced as were asked for.
func (s *Store) judgeSync(synced *redis.Cmd) error {
	if synced == nil {
		return nil
	}
	n, err := synced.Int64Slice()
	if err == nil && len(n) == 2 && n[0] >= 1 && int(n[1]) >= s.options.Replicas {
		return nil
	}
	return wire.Errorf(wire.Unavailable, "not enough Redis replicas have the append on their disks (%v, want %d; %w): try again", n, s.options.Replicas, errors.Join(err))
}

const (
	// tickEvery is how often acknowledged entries are deleted.
	tickEvery = time.Second
	// checkEvery is how often Redis's settings and clock are looked at.
	checkEvery = 20 * time.Second
	// sweepEvery is how often all streams are looked at for what has expired.
	sweepEvery = time.Hour
	// maxLeap is how far the store's time follows Redis's clock at once: one that
	// was set must not expire what waits.
	maxLeap = 10 * time.Minute
)
