/**
 * What a small buffer costs beside its bytes: the object that stands for it, the array's own header, its place in a queue.
 * Of Node 22 it is 224 to 251 bytes. Whoever keeps many of them counts so much for each, or a guest that sends a byte at a
 * time would hold two hundred times of what its limit says.
 */
export const BUFFER_COST = 256;
