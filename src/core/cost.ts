/**
 * Bytes that a small buffer costs beside its content: the object, the array's own header, its place in a queue. With
 * Node 22 they are 224 to 251 bytes. A queue of many buffers counts this cost for each; otherwise a guest that sends
 * single bytes would hold two hundred times its limit.
 */
export const BUFFER_COST = 256;
