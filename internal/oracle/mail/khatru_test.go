package mail

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/fiatjaf/eventstore/lmdb"
	"github.com/fiatjaf/khatru"
	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// serveKhatru is a Nostr relay as khatru's documentation makes one on LMDB.
func serveKhatru(t *testing.T, dir string) {
	relay := khatru.NewRelay()
	relay.Log.SetOutput(nothing{})
	db := lmdb.LMDBBackend{Path: dir}
	if err := db.Init(); err != nil {
		t.Fatal(err)
	}
	relay.StoreEvent = append(relay.StoreEvent, db.SaveEvent)
	relay.QueryEvents = append(relay.QueryEvents, db.QueryEvents)
	relay.CountEvents = append(relay.CountEvents, db.CountEvents)
	relay.DeleteEvent = append(relay.DeleteEvent, db.DeleteEvent)
	relay.ReplaceEvent = append(relay.ReplaceEvent, db.ReplaceEvent)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(l, relay)
	untilEnd("ws://" + l.Addr().String())
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

// khatruSystem sends events of a kind that relays keep, tagged with their reader,
// as private messages of Nostr are. They are signed before the load begins.
type khatruSystem struct {
	*child
	runs int
}

func startKhatru(t *testing.T) system { return &khatruSystem{child: startChild(t, "khatru")} }

func (s *khatruSystem) close() { s.stop() }

func (s *khatruSystem) connect(pair int, received func([]byte)) (sender, error) {
	s.runs++
	reader, _, err := websocket.DefaultDialer.Dial(s.says, nil)
	if err != nil {
		return nil, err
	}
	writer, _, err := websocket.DefaultDialer.Dial(s.says, nil)
	if err != nil {
		return nil, err
	}
	to, err := nostr.GetPublicKey(nostr.GeneratePrivateKey())
	if err != nil {
		return nil, err
	}
	p := &khatruPair{writer: writer, reader: reader, key: nostr.GeneratePrivateKey(), to: to, stored: map[string]func(error){}}
	ask := fmt.Sprintf(`["REQ","r%d",{"#p":["%s"]}]`, s.runs, to)
	if err := reader.WriteMessage(websocket.TextMessage, []byte(ask)); err != nil {
		return nil, err
	}
	for { // until it has told of all that it had, which is nothing
		_, b, err := reader.ReadMessage()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(string(b), `["EOSE"`) {
			break
		}
	}
	go p.follow(received)
	go p.answers()
	return p, nil
}

type khatruPair struct {
	writer, reader *websocket.Conn
	key, to        string

	mu     sync.Mutex
	stored map[string]func(error)
}

// content is the first 384 bytes of a body in base64, which has 512: what is
// stored is as large as with the others.
const content = bodySize * 3 / 4

func (p *khatruPair) send(body []byte, stored func(error)) error {
	e := nostr.Event{
		Kind: 1059, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"p", p.to}},
		Content: base64.StdEncoding.EncodeToString(body[:content]),
	}
	if err := e.Sign(p.key); err != nil {
		return err
	}
	b, err := json.Marshal([]any{"EVENT", e})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.stored[e.ID] = stored
	p.mu.Unlock()
	return p.writer.WriteMessage(websocket.TextMessage, b)
}

func (p *khatruPair) answers() {
	for {
		_, b, err := p.writer.ReadMessage()
		if err != nil {
			return
		}
		var parts []json.RawMessage
		var id string
		var ok bool
		if json.Unmarshal(b, &parts) != nil || len(parts) < 3 || json.Unmarshal(parts[1], &id) != nil || json.Unmarshal(parts[2], &ok) != nil {
			continue
		}
		p.mu.Lock()
		stored := p.stored[id]
		delete(p.stored, id)
		p.mu.Unlock()
		if stored == nil {
			continue
		}
		if ok {
			stored(nil)
		} else {
			stored(fmt.Errorf("khatru: %s", b))
		}
	}
}

func (p *khatruPair) follow(received func([]byte)) {
	for {
		_, b, err := p.reader.ReadMessage()
		if err != nil {
			return
		}
		_, rest, _ := strings.Cut(string(b), `"content":"`)
		text, _, ok := strings.Cut(rest, `"`)
		if !ok {
			continue
		}
		body := make([]byte, bodySize)
		if _, err := base64.StdEncoding.Decode(body[:content], []byte(text)); err == nil {
			received(body)
		}
	}
}

func (p *khatruPair) close() {
	p.writer.Close()
	p.reader.Close()
}
