package mail

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// serveNATS is a NATS server with JetStream that syncs every write.
func serveNATS(t *testing.T, dir string) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not get ready")
	}
	untilEnd(s.ClientURL())
	s.Shutdown()
	s.WaitForShutdown()
}

// natsSystem has one JetStream stream in a file for each pair, as a queue is one
// person's.
type natsSystem struct {
	*child
	runs int
}

func startNATS(t *testing.T) system { return &natsSystem{child: startChild(t, "nats")} }

func (s *natsSystem) close() { s.stop() }

func (s *natsSystem) connect(pair int, received func([]byte)) (sender, error) {
	s.runs++
	name := fmt.Sprintf("pair%d_%d", pair, s.runs)
	reader, err := nats.Connect(s.says)
	if err != nil {
		return nil, err
	}
	writer, err := nats.Connect(s.says)
	if err != nil {
		return nil, err
	}
	js, err := writer.JetStream(nats.PublishAsyncMaxPending(1024))
	if err != nil {
		return nil, err
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{name}, Storage: nats.FileStorage}); err != nil {
		return nil, err
	}
	follow, err := reader.JetStream()
	if err != nil {
		return nil, err
	}
	if _, err := follow.Subscribe(name, func(m *nats.Msg) { received(m.Data) }, nats.OrderedConsumer()); err != nil {
		return nil, err
	}
	p := &natsPair{name: name, writer: writer, reader: reader, js: js, acks: make(chan natsAck, 1024)}
	go p.answers()
	return p, nil
}

type natsPair struct {
	name           string
	writer, reader *nats.Conn
	js             nats.JetStreamContext
	acks           chan natsAck
}

type natsAck struct {
	future nats.PubAckFuture
	stored func(error)
}

func (p *natsPair) send(body []byte, stored func(error)) error {
	f, err := p.js.PublishAsync(p.name, body)
	if err == nil {
		p.acks <- natsAck{f, stored}
	}
	return err
}

func (p *natsPair) answers() {
	for a := range p.acks {
		select {
		case <-a.future.Ok():
			a.stored(nil)
		case err := <-a.future.Err():
			a.stored(err)
		}
	}
}

func (p *natsPair) close() {
	close(p.acks)
	p.writer.Close()
	p.reader.Close()
}
