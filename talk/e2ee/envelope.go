package e2ee

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// The tags of this file: frozen, as all are.
const (
	// TagEnvelope: the ids of envelopes, and the names of the messages in them.
	TagEnvelope wire.Tag = "confab/envelope/1\n"
	// TagSlot: the ids of the envelopes that hold an epoch's commit.
	TagSlot wire.Tag = "confab/slot/1\n"
)

// Envelope is an entry of a queue: a piece of an MLS message, encrypted once more
// so that who keeps the queue sees neither group nor epoch, nor whether it is
// words or a commit, and two queues of one conversation do not look alike.
type Envelope struct {
	ID   [16]byte // what the queue knows it by: the same again is no second entry
	Body []byte
}

// Piece is what an envelope holds.
type Piece struct {
	_     struct{} `cbor:",toarray"`
	Part  uint8    // from 0
	Of    uint8    // pieces there are, 1 to MaxPieces
	Whole [32]byte // names the message: TagEnvelope's hash of it
	Data  []byte
}

// pieceOverhead is what the fields around a piece's data take at most, and
// paddingOverhead what padding adds before it.
const (
	pieceOverhead   = 40
	paddingOverhead = 4
)

// aead is XChaCha20-Poly1305: its nonces are long enough to be random.
func (k EnvelopeKey) aead() cipher.AEAD {
	a, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		panic("e2ee: envelope key: " + err.Error()) // only another size can cause it
	}
	return a
}

// Wrap puts a message into envelopes: mostly one, at most MaxPieces. Store them
// before they are sent, so that what is sent again is the same.
func (k EnvelopeKey) Wrap(rand io.Reader, m []byte) ([]Envelope, error) {
	if len(m) == 0 || len(m) > MaxMessage {
		return nil, fmt.Errorf("wrap message: %d bytes, want 1 to %d", len(m), MaxMessage)
	}
	p := Piece{Of: uint8((len(m) + pieceSize - 1) / pieceSize), Whole: TagEnvelope.Sum(m)}
	list := make([]Envelope, 0, p.Of)
	for ; p.Part < p.Of; p.Part++ {
		p.Data = m[int(p.Part)*pieceSize : min(int(p.Part+1)*pieceSize, len(m))]
		padded, err := message.Pad(wire.Encode(p))
		if err != nil {
			return nil, fmt.Errorf("wrap message: %w", err)
		}
		nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(padded)+chacha20poly1305.Overhead)
		if _, err := io.ReadFull(rand, nonce); err != nil {
			return nil, fmt.Errorf("wrap message: read randomness: %w", err)
		}
		body := k.aead().Seal(nonce, nonce, padded, []byte(TagEnvelope))
		sum := TagEnvelope.Sum(body)
		list = append(list, Envelope{ID: [16]byte(sum[:16]), Body: body})
	}
	return list, nil
}

// WrapCommit is Wrap for a commit that is to win its epoch: the last envelope has
// an id that every member who commits in this epoch would give it, the slot. A
// queue takes one envelope of an id and no other, so exactly one commit wins. Send
// the envelopes in their order, and the last one when the others are stored.
//
// group is [Change.Slot]; the group's id does as well, but then somebody who was
// removed can still tell the slots to come, and occupy them.
func (k EnvelopeKey) WrapCommit(rand io.Reader, m, group []byte, epoch uint64) ([]Envelope, error) {
	list, err := k.Wrap(rand, m)
	if err != nil {
		return nil, err
	}
	list[len(list)-1].ID = k.slot(group, epoch)
	return list, nil
}

// slot returns the id of an epoch's commit.
func (k EnvelopeKey) slot(group []byte, epoch uint64) [16]byte {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte(TagSlot))
	h.Write(group)
	h.Write(binary.BigEndian.AppendUint64(nil, epoch))
	return [16]byte(h.Sum(nil)[:16])
}

// Open opens an envelope's body. It may be anybody's who has the key: what the
// pieces make together says more.
func (k EnvelopeKey) Open(body []byte) (Piece, error) {
	const around = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	if len(body) < around || len(body) > around+message.MaxPadded {
		return Piece{}, fmt.Errorf("open envelope: %d bytes are none", len(body))
	}
	padded, err := k.aead().Open(nil, body[:chacha20poly1305.NonceSizeX], body[chacha20poly1305.NonceSizeX:], []byte(TagEnvelope))
	if err != nil {
		return Piece{}, fmt.Errorf("open envelope: it is not under this key, or damaged")
	}
	content, err := message.Unpad(padded)
	if err != nil {
		return Piece{}, fmt.Errorf("open envelope: %w", err)
	}
	var p Piece
	if err := wire.Decode(content, &p, message.MaxEvent); err != nil {
		return Piece{}, fmt.Errorf("open envelope: %w", err)
	}
	if err := p.check(); err != nil {
		return Piece{}, fmt.Errorf("open envelope: %w", err)
	}
	return p, nil
}

// check refuses a piece that no message has. All pieces but the last are full, so
// that one message is cut in one way.
func (p Piece) check() error {
	last := p.Part+1 == p.Of
	if p.Of == 0 || p.Of > MaxPieces || p.Part >= p.Of || len(p.Data) == 0 || len(p.Data) > pieceSize || !last && len(p.Data) != pieceSize {
		return fmt.Errorf("piece %d of %d with %d bytes cannot be", p.Part, p.Of, len(p.Data))
	}
	return nil
}

// Assemble puts a message together from all of its pieces, in any order. Pieces
// with one Whole and one Of belong together; the caller keeps those that wait,
// within bounds of his own, and forgets what is never complete.
func Assemble(pieces []Piece) ([]byte, error) {
	if len(pieces) == 0 || len(pieces) > MaxPieces || len(pieces) != int(pieces[0].Of) {
		return nil, fmt.Errorf("assemble message: %d pieces are not all", len(pieces))
	}
	first := pieces[0]
	parts := make([][]byte, len(pieces))
	for _, p := range pieces {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("assemble message: %w", err)
		}
		if p.Of != first.Of || p.Whole != first.Whole {
			return nil, fmt.Errorf("assemble message: pieces of several messages")
		}
		if parts[p.Part] != nil {
			return nil, fmt.Errorf("assemble message: piece %d comes twice", p.Part)
		}
		parts[p.Part] = p.Data
	}
	var m []byte
	for _, part := range parts {
		m = append(m, part...)
	}
	if TagEnvelope.Sum(m) != first.Whole {
		return nil, fmt.Errorf("assemble message: the pieces are not what they say")
	}
	return m, nil
}

// padMessage is the padded size of an MLS message's content, such that the message
// in its envelope has just one of the sizes that message.Pad gives. What MLS and
// the envelope put around it is constant but for the length of a length.
func padMessage(size int) int {
	const around = 4 + 1 + groupIDSize + 8 + 1 + 1 + 1 + 28 + 4 + 16 + pieceOverhead
	return message.PaddedSize(size+around) - around - paddingOverhead
}
