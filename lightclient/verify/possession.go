package verify

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/confab-chat/confab/namesvc/wire"
)

// A Possession shows that whoever runs a validator holds the consensus key that
// is named for it, and agrees to be that account's validator on that chain.
// Without it anyone could have somebody else's key admitted, and answer for
// nothing.
//
// To make one: sign [PossessionMessage] with the consensus key, as CometBFT's
// secp256k1eth keys sign (R ‖ S ‖ V over the Keccak-256 of the message), and
// put the 65 bytes into Signature. To check one: [Possession.Check]. It goes
// from the operator to those who vote as the line that String returns.
type Possession struct {
	_         struct{} `cbor:",toarray"`
	ChainID   string
	Account   [32]byte // the operator's, which will answer for the validator
	Key       [33]byte // the consensus key, compressed
	Signature Signature
}

// MaxPossessionSize bounds the encoding in bytes: an account, a key, a
// signature and a full chain id make 189.
const MaxPossessionSize = 256

// PossessionMessage returns the exact bytes that a consensus key signs to show
// that it belongs to the account: wire.TagPossession and the canonical CBOR array
// of chain id, account and compressed key, which is what the law of names asks
// for in an offer. No message that a validator signs for consensus begins so:
// those are protobuf behind their length, and after a length of 'c' bytes no
// field can begin with 'o', which is wire type 7.
func PossessionMessage(chainID string, account [32]byte, key [33]byte) []byte {
	return wire.TagPossession.Message(wire.Encode(possessed{ChainID: chainID, Account: account, Key: key}))
}

type possessed struct {
	_       struct{} `cbor:",toarray"`
	ChainID string
	Account [32]byte
	Key     [33]byte
}

// Check reports why the proof does not hold, if so: [ErrSignature] if the
// signature is not the key's over this chain and account, [ErrInvalid] for a
// key that is none or a chain id that is none.
func (p Possession) Check() error {
	if len(p.ChainID) == 0 || len(p.ChainID) > MaxChainID {
		return fmt.Errorf("proof of possession: %w", invalid("chain id of %d bytes", len(p.ChainID)))
	}
	key, err := secp256k1.ParsePubKey(p.Key[:])
	if err != nil {
		return fmt.Errorf("proof of possession: %w", invalid("key: %v", err))
	}
	if !p.Signature.signedBy(key, PossessionMessage(p.ChainID, p.Account, p.Key)) {
		return fmt.Errorf("proof of possession of %x: %w", p.Key, ErrSignature)
	}
	return nil
}

// possessionPrefix begins the text form, so that people see what it is.
const possessionPrefix = "possession:"

// String returns the proof as one line to be passed on: "possession:" and the
// canonical encoding in lower-case hexadecimal digits.
func (p Possession) String() string { return possessionPrefix + hex.EncodeToString(wire.Encode(p)) }

// ParsePossession reads what String writes and checks it as [Possession.Check]
// does. White space around it is ignored.
func ParsePossession(text string) (Possession, error) {
	digits, ok := strings.CutPrefix(strings.TrimSpace(text), possessionPrefix)
	if !ok || len(digits) > 2*MaxPossessionSize {
		return Possession{}, fmt.Errorf("proof of possession: %w", invalid("it must be %s and hexadecimal digits, as confab-validator possession prints it", possessionPrefix))
	}
	b, err := hex.DecodeString(digits)
	if err != nil || hex.EncodeToString(b) != digits {
		return Possession{}, fmt.Errorf("proof of possession: %w", invalid("its digits are damaged; copy the whole line"))
	}
	var p Possession
	if err := wire.Decode(b, &p, MaxPossessionSize); err != nil {
		return Possession{}, fmt.Errorf("proof of possession: %w: %w", ErrInvalid, err)
	}
	return p, p.Check()
}
