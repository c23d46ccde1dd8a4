// Package card is what two people hand each other when they meet, or put where
// others find it: a line of text, or a picture for a camera, that says whom to
// ask for and in which network.
//
// What it guarantees: a card names an account and generation, so who adds it
// gets that account or an error, whatever has become of the handle; it has a
// recent pin of the network and the first places to ask, so a newcomer needs
// nothing else; a letter that was read or typed wrong is noticed.
//
// What it does not: a card is not signed. Whoever hands it over is believed
// about which account is theirs, as with a card of paper. It holds no secret.
//
// What it must not know: how anything is looked up or stored. Start at [Card]
// and [Parse].
package card
