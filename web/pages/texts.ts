/** Every English text of the pages, for translation. One section a page; `shell` is what all of them show. */
export const texts = {
  shell: {
    product: 'tidings',
  },

  index: {
    title: 'What happens, as it is committed',
  },

  notifications: {
    title: 'Notifications',
  },

  chat: {
    title: 'Chats',
  },
};
