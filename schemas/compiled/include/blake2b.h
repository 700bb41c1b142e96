/* BLAKE2b (RFC 7693) of up to 128 bytes, without a key, to 16 bytes: what schemas.rows.row_id makes of a span's ids.
 * After the reference implementation of the RFC, cut to one block. */
#define HASHED_MOST 128

static const uint64_t blake2b_start[8] = {
    0x6A09E667F3BCC908u, 0xBB67AE8584CAA73Bu, 0x3C6EF372FE94F82Bu, 0xA54FF53A5F1D36F1u,
    0x510E527FADE682D1u, 0x9B05688C2B3E6C1Fu, 0x1F83D9ABFB41BD6Bu, 0x5BE0CD19137E2179u,
};
static const uint8_t blake2b_order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t rotated(uint64_t value, int bits) { return value >> bits | value << (64 - bits); }

static void blake2b_mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y) {
    v[a] += v[b] + x;
    v[d] = rotated(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotated(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotated(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotated(v[b] ^ v[c], 63);
}

/* `in` has HASHED_MOST bytes, zeros after the first `size`. `out` gets the first two words of the digest. */
static void blake2b_128(const uint8_t *in, size_t size, uint64_t out[2]) {
    uint64_t words[16], v[16];
    for (int i = 0; i < 16; i++) {
        words[i] = 0;
        for (int byte = 7; byte >= 0; byte--) words[i] = words[i] << 8 | in[8 * i + byte];
    }
    uint64_t first = blake2b_start[0] ^ 0x01010000u ^ 16;
    for (int i = 0; i < 8; i++) v[i] = v[i + 8] = blake2b_start[i];
    v[0] = first;
    v[12] ^= (uint64_t)size;
    v[14] = ~v[14];
    for (int round = 0; round < 12; round++) {
        const uint8_t *order = blake2b_order[round % 10];
        for (int i = 0; i < 4; i++)
            blake2b_mix(v, i, 4 + i, 8 + i, 12 + i, words[order[2 * i]], words[order[2 * i + 1]]);
        for (int i = 0; i < 4; i++)
            blake2b_mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, words[order[8 + 2 * i]],
                        words[order[9 + 2 * i]]);
    }
    out[0] = first ^ v[0] ^ v[8];
    out[1] = blake2b_start[1] ^ v[1] ^ v[9];
}
