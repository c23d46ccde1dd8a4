package mail

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/stream/redisstore"
)

// chain is the same in all processes: a concierge, and one person it serves.
func chain(t *testing.T) (c *fakechain.Chain, harbor, alice *fakechain.Actor, me concierge.Service) {
	c = fakechain.New(fakechain.Spec{})
	harbor, alice = fakechain.NewActor("harbor", namesvc.Service), fakechain.NewActor("alice", namesvc.Person)
	for _, err := range []error{
		c.Register(harbor, "harbor", harbor.Concierge("https://harbor.example")),
		c.Register(alice, "alice", fakechain.ServedBy(harbor)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Skip(1)
	e, _ := c.Entry(harbor.ID)
	me, err := concierge.ServiceOf(c.ID(), e)
	if err != nil {
		t.Fatal(err)
	}
	return c, harbor, alice, me
}

// serveConfab is a concierge as confab-concierge runs it, but that its rates let
// the load through.
func serveConfab(t *testing.T, dir string) {
	c, harbor, _, me := chain(t)
	var store stream.Store
	var err error
	if url := os.Getenv("CONFAB_MAIL_REDIS"); url != "" {
		store, err = redisstore.Open(t.Context(), url, redisstore.Options{})
	} else {
		store, err = pebblestore.Open(dir, pebblestore.Options{Reserve: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	light, err := lightclient.New(lightclient.Config{
		Pin: c.Pin(1), Sources: []lightclient.Source{fakechain.Node{Chain: c, Label: "node"}}, Now: c.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	const unlimited = 1e8
	s, err := concierge.New(concierge.Options{
		Service: me, Key: harbor.Server, Chain: light, Store: store,
		Limits: concierge.Limits{
			Rate: unlimited, Burst: unlimited, QueueRate: unlimited, QueueBurst: unlimited,
			QueueEntries: unlimited, QueueBytes: 1 << 40, AccountBytes: 1 << 60, Grace: time.Hour,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", certificate(t))
	if err != nil {
		t.Fatal(err)
	}
	go (&http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}).Serve(l)
	if name := os.Getenv("CONFAB_MAIL_PROFILE"); name != "" {
		f, err := os.Create(name)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	untilEnd("https://" + l.Addr().String())
}

func certificate(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, DynamicRecordSizingDisabled: true}
}

// replicas are several concierges with one Redis behind them, as of one service
// with more people than one process serves. The two ends of a pair are at different
// ones, if there are several.
type replicas struct {
	list  []*confabSystem
	redis *redisSystem
}

func startReplicas(n int) func(*testing.T) system {
	return func(t *testing.T) system {
		s := &replicas{redis: startRedis(t).(*redisSystem)}
		_, _, alice, want := chain(t)
		for range n {
			c := startChild(t, "confab", "CONFAB_MAIL_REDIS=redis://"+s.redis.addr)
			s.list = append(s.list, &confabSystem{child: c, want: want, alice: alice})
		}
		return s
	}
}

func (s *replicas) processes() (pids []int) {
	for _, c := range s.list {
		pids = append(pids, c.processes()...)
	}
	return append(pids, s.redis.processes()...)
}

func (s *replicas) connect(pair int, received func([]byte)) (sender, error) {
	reader, writer := s.list[pair%len(s.list)], s.list[(pair+1)%len(s.list)]
	return reader.connectTo(writer.says, received)
}

func (s *replicas) close() {
	for _, c := range s.list {
		c.close()
	}
	s.redis.close()
}

// confabSystem has one queue for each pair. The writer is a guest who has its
// address; the reader is a device of the person to whom it belongs.
type confabSystem struct {
	*child
	want  concierge.Service
	alice *fakechain.Actor
	// acknowledged has readers acknowledge what they have, as all clients do: the
	// others keep what was read.
	acknowledged bool
}

func startConfab(t *testing.T) system {
	_, _, alice, want := chain(t)
	return &confabSystem{child: startChild(t, "confab"), want: want, alice: alice}
}

func startAcknowledged(t *testing.T) system {
	s := startConfab(t).(*confabSystem)
	s.acknowledged = true
	return s
}

func (s *confabSystem) close() { s.stop() }

func (s *confabSystem) connect(_ int, received func([]byte)) (sender, error) {
	return s.connectTo(s.says, received)
}

// connectTo has the writer at another address than the reader.
func (s *confabSystem) connectTo(writers string, received func([]byte)) (sender, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reader, err := concierge.Dial(ctx, s.says, s.want, &concierge.Identity{Account: s.alice.ID, Device: s.alice.Device})
	if err != nil {
		return nil, err
	}
	var seed concierge.Seed
	rand.Read(seed[:])
	q, err := reader.CreateQueue(ctx, seed, stream.Settings{})
	if err != nil {
		return nil, err
	}
	sub, err := reader.Subscribe(ctx, q.ID, 0, nil)
	if err != nil {
		return nil, err
	}
	writer, err := concierge.Dial(ctx, writers, s.want, nil)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			page, err := sub.Next(context.Background())
			if err != nil {
				return
			}
			for _, e := range page.Entries {
				received(e.Body)
			}
			if s.acknowledged {
				reader.Acknowledge(q.ID, page.Last())
			}
		}
	}()
	return &confabPair{reader: reader, writer: writer, to: stream.ID(concierge.OwnerOf(s.alice.ID, 1).Address(seed))}, nil
}

type confabPair struct {
	reader, writer *concierge.Client
	to             stream.ID
}

func (p *confabPair) send(body []byte, stored func(error)) error {
	m := stream.Message{Body: body}
	rand.Read(m.ID[:])
	p.writer.Submit(p.to, m, func(r stream.Receipt, err error) {
		if err == nil && r.Again {
			err = fmt.Errorf("message %d was there already", r.Seq)
		}
		stored(err)
	})
	return nil
}

func (p *confabPair) close() {
	p.writer.Close()
	p.reader.Close()
}
