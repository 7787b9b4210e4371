-- What waits for a decision is found without a look at what is over.

CREATE INDEX finality_witness_hold ON finality_witness (at) WHERE operation = 'hold';
