export { useCaseNotifications, type CaseNotifications, type CaseNotificationsOptions } from './useCaseNotifications';
export { useStore } from './useStore';
